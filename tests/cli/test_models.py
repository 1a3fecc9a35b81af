"""`twinlens models`."""

import json
from pathlib import Path

import pytest

from twinlens.hub.published import published_models
from twinlens.hub.resolve import KnownModel

KEYS = [
    *("name", "where", "path", "repository", "layout", "architecture", "licence"),
    *("restrictions", "data", "image_size", "embed_dim", "parameters_millions", "size_bytes"),
    *("imagenet_acc1_percent", "source", "metrics"),
]
HF_CONFIG = {"model_type": "clip", "projection_dim": 512, "vision_config": {"image_size": 240}}
OPEN_CLIP_CONFIG = {"model_cfg": {"embed_dim": 640, "vision_cfg": {"image_size": 280}}}


def at_hand(monkeypatch: pytest.MonkeyPatch, *found: KnownModel) -> None:
    monkeypatch.setattr("twinlens.hub.resolve.known_models", lambda: list(found))


@pytest.fixture
def one_model(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    at_hand(monkeypatch, KnownModel(name="tiny", where="cached", path=tiny_directory))
    return tiny_directory


@pytest.fixture
def cached_clip(tmp_path: Path) -> KnownModel:
    """OpenAI's smallest transformer, as far as its listing goes."""
    (tmp_path / "config.json").write_text(json.dumps(HF_CONFIG))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return KnownModel(
        name="openai/clip-vit-base-patch32",
        where="cached",
        path=tmp_path,
        layout="hf",
        published=published_models()["openai/clip-vit-base-patch32"],
    )


def test_json_says_what_a_model_is(run, one_model: Path):
    answer, *others = json.loads(run("models", "--json").out)
    size = sum(path.stat().st_size for path in one_model.iterdir())
    assert answer == {
        "name": "tiny",
        "where": "cached",
        "path": str(one_model),
        "repository": None,
        "layout": "native",
        "architecture": None,
        "licence": "CC0-1.0",
        "restrictions": "",
        "data": "",
        "image_size": 32,
        "embed_dim": 16,
        "parameters_millions": None,
        "size_bytes": size,
        "imagenet_acc1_percent": None,
        "source": "",
        "metrics": {},
    }
    assert [one["name"] for one in others] == list(published_models())
    assert {one["where"] for one in others} == {"downloadable"}
    assert all(list(one) == KEYS for one in (answer, *others))


def test_json_of_the_table_is_the_table(run, one_model: Path):
    answer = json.loads(run("models", "--known", "--json").out)
    assert [one["name"] for one in answer] == list(published_models())
    [one] = [one for one in answer if one["name"] == "facebook/metaclip-b32-400m"]
    assert (one["licence"], one["restrictions"]) == ("CC-BY-NC-4.0", "non-commercial")
    assert (one["path"], one["size_bytes"], one["image_size"]) == (None, None, 224)
    assert one["imagenet_acc1_percent"] == 65.58


def test_a_published_model_in_the_cache_is_listed_once_with_both(
    run, cached_clip: KnownModel, monkeypatch: pytest.MonkeyPatch
):
    at_hand(monkeypatch, cached_clip)
    for words in ([], ["--known"]):
        answer = json.loads(run("models", "--json", *words).out)
        assert len(answer) == len(published_models())
        [one] = [one for one in answer if one["name"] == cached_clip.name]
        assert (one["where"], one["path"]) == ("cached", str(cached_clip.path))
        assert (one["repository"], one["layout"]) == ("openai/clip-vit-base-patch32", "hf")
        assert (one["licence"], one["image_size"], one["embed_dim"]) == ("MIT", 224, 512)
        assert one["imagenet_acc1_percent"] == 63.32


def test_the_table_shows_what_was_measured(
    run, tiny_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = (tiny_directory / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "metrics.json").write_text('{"unseen style acc1": 0.551, "note": "x"}')
    at_hand(monkeypatch, KnownModel(name="measured", where="embedded", path=tmp_path))
    ending = run("models")
    for words in ("measured", "embedded", "CC0-1.0", "32 px", "unseen style acc1 55.1%"):
        assert words in ending.out
    count = len(published_models())
    assert (
        ending.err == f"{count} more are downloaded when they are named: twinlens models --known\n"
    )


def test_the_table_shows_what_was_published(
    run, cached_clip: KnownModel, monkeypatch: pytest.MonkeyPatch
):
    at_hand(monkeypatch, cached_clip)
    ending = run("models")
    for words in (cached_clip.name, "MIT", "224 px", "512", "ImageNet-1k acc1 63.3%"):
        assert words in ending.out
    assert ending.err.startswith(f"{len(published_models()) - 1} more are downloaded")


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        (HF_CONFIG, ("240 px", "512")),
        ({"model_type": "clip_vision_model", "image_size": 160}, ("160 px",)),
        ({"model_type": "clip", "vision_config": []}, ("not stated",)),
        (OPEN_CLIP_CONFIG, ("280 px", "640")),
    ],
)
def test_what_others_configurations_and_cards_say(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config, shown
):
    layout = "open_clip" if config is OPEN_CLIP_CONFIG else "hf"
    file = "open_clip_config.json" if layout == "open_clip" else "config.json"
    (tmp_path / file).write_text(json.dumps(config))
    (tmp_path / "README.md").write_text(
        "---\ntags:\n- clip\nlicense: cc-by-4.0\n---\nlicense: no\n"
    )
    found = KnownModel(name="hf://a/b", where="cached", path=tmp_path, layout=layout)
    at_hand(monkeypatch, found)
    out = run("models").out
    for words in ("hf://a/b", "cc-by-4.0", "not measured", *shown):
        assert words in out
    (tmp_path / "README.md").write_text("# A card\nlicense: no\n")
    assert json.loads(run("models", "--json").out)[0]["licence"] == ""


def test_a_single_file_is_listed(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "siglip.npz").write_bytes(b"12345")
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    path = tmp_path / "siglip.npz"
    found = KnownModel(name="hf://a/b", where="cached", path=path, layout="big_vision")
    at_hand(monkeypatch, found)
    out = run("models").out
    for words in ("hf://a/b", "apache-2.0", "not stated", "not measured"):
        assert words in out
    one = json.loads(run("models", "--json").out)[0]
    assert (one["path"], one["layout"]) == (str(path), "big_vision")
    assert one["size_bytes"] > 5


def test_the_known_models_are_a_table(run, monkeypatch: pytest.MonkeyPatch):
    at_hand(monkeypatch)
    lines = run("models", "--known").out.splitlines()
    assert len(lines) == 1 + len(published_models())
    [line] = [line for line in lines if line.startswith("facebook/metaclip-b32-400m ")]
    assert line.split()[1:] == [
        *("ViT-B-32", "224", "px", "151", "M", "65.6%", "CC-BY-NC-4.0", "(non-commercial)")
    ]


def test_no_model_is_said_beside_the_answer(run, monkeypatch: pytest.MonkeyPatch):
    at_hand(monkeypatch)
    ending = run("models")
    assert (ending.status, ending.out) == (0, "")
    assert "no models" in ending.err
    assert "more are downloaded when they are named" in ending.err
