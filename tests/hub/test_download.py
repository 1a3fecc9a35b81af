"""From the hub into the cache: what is fetched, what is checked, and what is told without a hub."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors

from tests.hub.conftest import COMMIT, HF_CLIP, Hub
from twinlens.errors import CheckpointError
from twinlens.hub.resolve import resolve

WEIGHTS = b"the weights"
SUM = hashlib.sha256(WEIGHTS).hexdigest()
FILES = {
    "config.json": HF_CLIP,
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"the weights once more",
    "README.md": b"a card",
    "tf_model.h5": b"and once more",
}
NEEDED = ["model.safetensors", "config.json", "README.md"]


@pytest.fixture
def clip(hub: Hub) -> Hub:
    """`org/clip` is on the hub."""
    hub.files["org/clip"] = dict(FILES)
    return hub


def of_the_hub(kind: type[hub_errors.HfHubHTTPError], message: str = "no") -> Exception:
    """An error as huggingface_hub raises it; which HTTP library it uses is its own affair."""
    error = kind.__new__(kind)
    error.args = (message,)
    return error


def test_only_what_is_needed_is_fetched_and_only_once(clip: Hub):
    told: list[str] = []
    path = resolve("hf://org/clip", report=told.append)
    assert path == clip.cache.snapshot("org/clip")
    assert sorted(file.name for file in path.iterdir()) == sorted(NEEDED)
    assert resolve("hf://org/clip", report=told.append) == path
    assert clip.downloads == [("org/clip", None, NEEDED)]
    assert told == [f"hf://org/clip: org/clip at {COMMIT}: model.safetensors has SHA-256 {SUM}"]


def test_a_revision_is_asked_for_and_remembered(clip: Hub):
    path = resolve("hf://org/clip@v2")
    assert [revision for _, revision, _ in clip.downloads] == ["v2"]
    clip.error = OSError("no network")
    assert resolve("hf://org/clip@v2") == path
    with pytest.raises(CheckpointError, match=r"https://huggingface\.co/org/clip into"):
        resolve("hf://org/clip")


def test_a_commit_is_a_revision(clip: Hub):
    resolve("hf://org/clip")
    assert resolve(f"hf://org/clip@{COMMIT}") == clip.cache.snapshot("org/clip")
    assert len(clip.downloads) == 1
    clip.error = OSError("no network")
    with pytest.raises(CheckpointError, match="cannot be reached"):
        resolve(f"hf://org/clip@{'f' * 40}")


def test_a_newer_commit_of_the_branch_is_fetched(clip: Hub):
    resolve("hf://org/clip")
    clip.commit = "f" * 40
    assert resolve("hf://org/clip").name == "f" * 40
    assert len(clip.downloads) == 2


def test_what_is_told_goes_to_stderr(clip: Hub, capsys: pytest.CaptureFixture[str]):
    resolve("hf://org/clip")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("hf://org/clip: ")
    assert SUM in printed.err


def test_weights_that_are_not_the_hub_s_are_removed(clip: Hub):
    clip.damage = lambda content: content[:-1]
    short = hashlib.sha256(WEIGHTS[:-1]).hexdigest()
    with pytest.raises(CheckpointError, match=f"model.safetensors: got SHA-256 {short}, expected"):
        resolve("hf://org/clip")
    snapshot = clip.cache.snapshot("org/clip")
    assert not (snapshot / "model.safetensors").is_symlink()
    assert not list(clip.cache.root.rglob(short))
    clip.damage = lambda content: content
    assert resolve("hf://org/clip") == snapshot
    assert (snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_a_sum_that_the_hub_does_not_know_is_told_as_such(
    clip: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Hub, "_large", lambda *_: None)
    told: list[str] = []
    resolve("hf://org/clip", report=told.append)
    assert told[0].endswith(f"SHA-256 {SUM}, which the hub does not tell")


def test_weights_that_another_library_fetched_are_not_fetched_or_read_again(clip: Hub):
    """Say transformers, which had no use for the card."""
    cached = {"config.json": HF_CLIP, "model.safetensors": b"changed on the disk since"}
    snapshot = clip.cache.write("org/clip", cached)
    told: list[str] = []
    assert resolve("hf://org/clip", report=told.append) == snapshot
    assert (snapshot / "README.md").is_file()
    assert told == []


def test_a_repository_may_be_one_file(clip: Hub):
    clip.files["org/siglip"] = {"siglip_b16.npz": WEIGHTS, "README.md": b"a card"}
    path = resolve("hf://org/siglip")
    assert path.name == "siglip_b16.npz"
    assert path.read_bytes() == WEIGHTS
    clip.error = OSError("no network")
    assert resolve("hf://org/siglip") == path


def test_a_repository_without_a_model_says_what_was_expected(clip: Hub):
    clip.files["org/clip"] = {"README.md": b"a card", "model.onnx": WEIGHTS}
    with pytest.raises(CheckpointError, match=r"got 2 files, expected config\.json and model"):
        resolve("hf://org/clip")
    assert clip.downloads == []


def test_a_download_that_stops_can_be_gone_on_with(clip: Hub):
    clip.stops = ConnectionError("the line\nwas cut")
    with pytest.raises(CheckpointError, match="download stopped: the line was cut; run it again"):
        resolve("hf://org/clip")
    clip.stops = None
    assert resolve("hf://org/clip") == clip.cache.snapshot("org/clip")


def test_a_branch_that_moves_during_the_download_is_noticed(
    clip: Hub, monkeypatch: pytest.MonkeyPatch
):
    asked = Hub.model_info

    def older(hub: Hub, *args: object, **options: object):
        info = asked(hub, *args, **options)  # pyright: ignore[reportArgumentType]
        info.sha = "e" * 40
        return info

    monkeypatch.setattr(Hub, "model_info", older)
    with pytest.raises(CheckpointError, match="changed on the hub meanwhile; run it again"):
        resolve("hf://org/clip")


# Without the hub -----------------------------------------------------------------------------


def test_without_a_connection_the_cache_is_used_and_said(clip: Hub):
    path = resolve("hf://org/clip")
    told: list[str] = []
    clip.error = OSError("no network")
    assert resolve("hf://org/clip", report=told.append) == path
    assert told == [f"hf://org/clip: the hub cannot be asked, so commit {COMMIT} of the cache"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "hf://org/clip@v2",
            r"fetch config.json, .*model.safetensors.* \(or open_clip_config.json, .*tokenizer.json"
            " from https://huggingface.co/org/clip/tree/v2 into a directory",
        ),
        (
            "openai/RN50",
            "fetch open_clip_config.json, open_clip_model.safetensors or .*tokenizer.json "
            "from https://huggingface.co/timm/resnet50_clip.openai into a directory",
        ),
        (
            "google/siglip-base-patch16-224",
            "fetch config.json, preprocessor_config.json, model.safetensors or .*tokenizer.json "
            "from https://huggingface.co/google/siglip-base-patch16-224 into a directory",
        ),
    ],
)
def test_without_a_connection_the_error_says_what_to_fetch(hub: Hub, name: str, expected: str):
    hub.error = OSError("no network")
    with pytest.raises(CheckpointError, match=f"the hub cannot be reached .*{expected}") as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")


def test_a_half_fetched_model_is_not_used(hub: Hub):
    hub.cache.write("org/clip", {"config.json": HF_CLIP, "README.md": b"a card"})
    hub.error = OSError("no network")
    with pytest.raises(CheckpointError, match="the cache has no such model"):
        resolve("hf://org/clip")


@pytest.mark.usefixtures("cache")
def test_huggingface_hub_s_own_switch_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="openai/RN50: HF_HUB_OFFLINE is set and the cache"):
        resolve("openai/RN50")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (hub_errors.RepositoryNotFoundError, "no such public model or revision"),
        (hub_errors.RevisionNotFoundError, "no such public model or revision"),
        (hub_errors.GatedRepoError, "terms accepted: do so at https://huggingface.co/org/clip,"),
        (hub_errors.HfHubHTTPError, "the hub answered 503 for a while$"),
    ],
)
def test_what_the_hub_answers_is_told_in_one_line(
    clip: Hub, kind: type[hub_errors.HfHubHTTPError], expected: str
):
    clip.error = of_the_hub(kind, "503\nfor a while")
    with pytest.raises(CheckpointError, match=expected):
        resolve("hf://org/clip")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["hf://a b/c", "hf://", "hf://a/b/c", "hf://org/name@"])
def test_a_malformed_hub_name_says_the_form(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    expected = "HF_HUB_OFFLINE is set" if name == "hf://org/name@" else r"org/name\[@revision\]"
    with pytest.raises(CheckpointError, match=expected):
        resolve(name)


def test_a_model_in_the_cache_needs_no_network_stack(
    clip: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A path is a path, whatever the hub would say."""
    path = resolve("hf://org/clip")
    clip.error = AssertionError("the hub was asked")
    monkeypatch.chdir(tmp_path)
    assert resolve(path) == path
