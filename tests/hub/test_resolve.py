"""Names of models to directories, what a wrong name is told, and what is at hand."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.hub.conftest import COMMIT, HF_CLIP, OPEN_CLIP, Cache, Hub
from tests.tiny import tiny_config
from twinlens.config_io import to_dict
from twinlens.errors import CheckpointError, UnknownNameError
from twinlens.hub.published import published_models
from twinlens.hub.resolve import _EMBEDDED, known_models, resolve

NATIVE = json.dumps(to_dict(tiny_config())).encode()


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("config.json", "model.safetensors"):
        (directory / name).touch()
    return directory


def test_a_directory_is_itself(model_directory: Path):
    assert resolve(model_directory) == model_directory
    assert resolve(str(model_directory)) == model_directory


@pytest.mark.parametrize(
    "files",
    [
        ("config.json", "pytorch_model.bin"),
        ("config.json", "model.safetensors.index.json"),
        ("open_clip_config.json", "open_clip_model.safetensors"),
        ("open_clip_config.json", "open_clip_pytorch_model.bin"),
        ("open_clip_config.json", "model.safetensors"),
    ],
)
def test_a_directory_in_another_layout_is_itself(tmp_path: Path, files: tuple[str, ...]):
    for name in files:
        (tmp_path / name).touch()
    assert resolve(tmp_path) == tmp_path


@pytest.mark.parametrize("file", ["ViT-B-32.pt", "siglip.npz", "weights"])
def test_a_file_of_weights_is_itself(tmp_path: Path, file: str):
    (tmp_path / file).touch()
    assert resolve(tmp_path / file) == tmp_path / file


@pytest.mark.parametrize("file", ["config.json", "open_clip_config.json", "tokenizer.json"])
def test_a_file_beside_the_weights_is_no_model(tmp_path: Path, file: str):
    (tmp_path / file).touch()
    with pytest.raises(CheckpointError, match=f"{file}: is one file of a model, expected its dir"):
        resolve(tmp_path / file)


def test_the_embedded_name_is_in_the_package(
    model_directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(_EMBEDDED, "icons", model_directory)
    assert resolve("icons") == model_directory
    assert next((one.name, one.where) for one in known_models()) == ("icons", "embedded")


@pytest.mark.parametrize(
    ("name", "close"), [("icon", "'icons'"), ("openai/ViT-B/32", "'openai/ViT-B-32' or ")]
)
def test_an_unknown_name_suggests_the_close_one(name: str, close: str):
    with pytest.raises(UnknownNameError, match=f"unknown model {name!r}: did you mean {close}"):
        resolve(name)


@pytest.mark.parametrize("name", ["", "clip"])
def test_a_name_like_no_other_is_told_where_the_names_are(name: str):
    with pytest.raises(UnknownNameError, match=r"known: icons, the .*`twinlens models --known`"):
        resolve(name)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "nowhere/"])
def test_a_path_that_does_not_exist_says_so(name: str):
    with pytest.raises(CheckpointError, match="no such directory"):
        resolve(name)


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "safetensors", "npz"])
def test_a_file_that_does_not_exist_says_so(ending: str):
    with pytest.raises(CheckpointError, match=rf"weights\.{ending}: no such file, expected one"):
        resolve(f"weights.{ending}")


@pytest.mark.parametrize("name", ["icon", "openai/ViT-B-32"])
def test_a_path_object_is_never_a_name(name: str):
    with pytest.raises(CheckpointError, match="no such directory"):
        resolve(Path(name))


def test_a_directory_without_a_model_says_what_is_missing(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"got no config\.json and no open_clip_config"):
        resolve(tmp_path)
    (tmp_path / "open_clip_config.json").touch()
    with pytest.raises(
        CheckpointError,
        match=r"got open_clip_config\.json but no weights, expected open_clip_model\.safetensors",
    ):
        resolve(tmp_path)


# Names of the table --------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [None, "v2"])
def test_a_name_of_the_table_is_its_repository(hub: Hub, revision: str | None):
    hub.files["timm/vit_base_patch32_clip_224.openai"] = {
        "open_clip_config.json": OPEN_CLIP,
        "open_clip_model.safetensors": b"weights",
    }
    told: list[str] = []
    name = f"openai/ViT-B-32@{revision}" if revision else "openai/ViT-B-32"
    path = resolve(name, report=told.append)
    assert path == hub.cache.snapshot("timm/vit_base_patch32_clip_224.openai")
    assert [asked[:2] for asked in hub.downloads] == [
        ("timm/vit_base_patch32_clip_224.openai", revision)
    ]
    assert told[-1] == f"{name}: licence MIT: model card: not for deployment"


def test_a_directory_of_a_known_name_comes_first(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "openai" / "ViT-B-32").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "openai" / "ViT-B-32" / name).touch()
    monkeypatch.chdir(tmp_path)
    assert resolve("openai/ViT-B-32") == Path("openai/ViT-B-32")
    assert hub.downloads == []


def test_a_name_of_the_table_is_no_path_though_its_parent_is_one(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "openai").mkdir()
    monkeypatch.chdir(tmp_path)
    hub.files["openai/clip-vit-base-patch32"] = {
        "config.json": HF_CLIP,
        "pytorch_model.bin": b"weights",
    }
    assert resolve("openai/clip-vit-base-patch32").name == COMMIT


# The cache -----------------------------------------------------------------------------------


def cached() -> list[tuple[str, str]]:
    return [(one.name, one.layout) for one in known_models() if one.where == "cached"]


def test_models_of_every_layout_in_the_cache_are_at_hand(cache: Cache):
    weights = {"model.safetensors": b"weights"}
    siglip = HF_CLIP.replace(b'"clip"', b'"siglip"')
    cache.write("us/native", {"config.json": NATIVE, **weights})
    cache.write("them/clip", {"config.json": HF_CLIP, "pytorch_model.bin": b"weights"})
    cache.write("google/siglip-base-patch16-224", {"config.json": siglip, **weights})
    cache.write(
        "timm/resnet50_clip.openai",
        {
            "open_clip_config.json": OPEN_CLIP,
            "open_clip_model.safetensors": b"weights",
            "config.json": b'{"architecture": "resnet50_clip"}',
            **weights,
        },
    )
    assert cached() == [
        ("google/siglip-base-patch16-224", "hf"),
        ("hf://them/clip", "hf"),
        ("hf://us/native", "native"),
        ("openai/RN50", "open_clip"),
    ]
    [listed] = [one for one in known_models() if one.name == "openai/RN50"]
    assert listed.published is published_models()["openai/RN50"]
    assert listed.path == cache.snapshot("timm/resnet50_clip.openai")


def test_what_is_no_model_of_ours_is_not_listed(cache: Cache):
    weights = {"model.safetensors": b"weights"}
    cache.write("a/bert", {"config.json": b'{"model_type": "bert"}', **weights})
    cache.write("a/naflex", {"config.json": b'{"model_type": "siglip2"}', **weights})
    cache.write("a/timm", {"config.json": b'{"architecture": "resnet50"}', **weights})
    cache.write("a/nameless", {"config.json": b'{"model_type": []}', **weights})
    cache.write("a/damaged", {"config.json": b"{", **weights})
    cache.write("a/list", {"config.json": b"[]", **weights})
    cache.write("a/config-only", {"config.json": HF_CLIP})
    cache.write("a/data", {"config.json": HF_CLIP, **weights}, kind="datasets")
    assert cached() == []


def test_the_newest_whole_snapshot_is_the_one_at_hand(cache: Cache):
    files = {"config.json": HF_CLIP, "model.safetensors": b"weights"}
    cache.write("a/clip", files, commit="a" * 40)
    cache.write("a/clip", {"config.json": HF_CLIP}, commit="b" * 40)  # stopped half-way
    [one] = [one for one in known_models() if one.where == "cached"]
    assert one.path.name == "a" * 40


@pytest.mark.parametrize(("revision", "shown"), [("main", ""), ("v2", "@v2")])
def test_a_listed_name_opens_what_is_listed(hub: Hub, revision: str, shown: str):
    hub.error = ConnectionError("offline")
    files = {"config.json": HF_CLIP, "model.safetensors": b"weights"}
    snapshot = hub.cache.write("openai/clip-vit-base-patch32", files, revision=revision)
    [one] = [one for one in known_models() if one.where == "cached"]
    assert one.name == f"openai/clip-vit-base-patch32{shown}"
    assert resolve(one.name, report=lambda _line: None) == one.path == snapshot


def test_a_revision_without_a_name_is_told_by_its_commit(hub: Hub):
    hub.error = ConnectionError("offline")
    files = {"config.json": HF_CLIP, "model.safetensors": b"weights"}
    snapshot = hub.cache.write("a/clip", files, commit="a" * 40)
    hub.cache.write("a/clip", {"config.json": HF_CLIP}, commit="b" * 40)  # stopped half-way
    [one] = [one for one in known_models() if one.where == "cached"]
    assert one.name == f"hf://a/clip@{'a' * 40}"
    assert resolve(one.name, report=lambda _line: None) == snapshot


def test_the_main_branch_comes_before_newer_revisions(cache: Cache):
    files = {"config.json": HF_CLIP, "model.safetensors": b"weights"}
    cache.write("a/clip", files, commit="a" * 40)
    cache.write("a/clip", files | {"README.md": b"new"}, commit="b" * 40, revision="v2")
    assert cached() == [("hf://a/clip", "hf")]


def test_a_single_file_of_siglip_s_is_listed(hub: Hub):
    hub.error = ConnectionError("offline")
    stream = io.BytesIO()
    np.savez(stream, **{"params/img/MAPHead_0/probe": np.zeros(3)})
    hub.cache.write("org/siglip", {"siglip.npz": stream.getvalue(), "README.md": b"x"})
    hub.cache.write("org/other", {"other.npz": b"x"})
    hub.cache.write("org/adapter", {"adapter.safetensors": b"x"})
    assert cached() == [("hf://org/siglip", "big_vision")]
    [one] = [one for one in known_models() if one.where == "cached"]
    assert resolve(one.name, report=lambda _line: None) == one.path
    assert one.path.name == "siglip.npz"


def test_no_cache_means_no_cached_models(cache: Cache):
    cache.root.rmdir()
    assert all(one.where == "embedded" for one in known_models())
