"""Names of models to directories, and what a wrong name is told."""

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from twinlens import hub
from twinlens.errors import CheckpointError, UnknownNameError


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    for name in hub.NEEDED_FILES:
        (directory / name).touch()
    return directory


def test_a_directory_is_itself(model_directory: Path):
    assert hub.resolve(model_directory) == model_directory
    assert hub.resolve(str(model_directory)) == model_directory


def test_the_embedded_name_is_in_the_package(
    model_directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(hub._EMBEDDED, "icons", model_directory)
    assert hub.resolve("icons") == model_directory
    assert next((one.name, one.where) for one in hub.known_models()) == ("icons", "embedded")


def test_an_unknown_name_suggests_the_close_one():
    with pytest.raises(UnknownNameError, match="unknown model 'icon': did you mean 'icons'"):
        hub.resolve("icon")


@pytest.mark.parametrize("name", ["openai/ViT-B-32", "", "clip"])
def test_a_name_that_is_no_path_is_an_unknown_name(name: str):
    with pytest.raises(UnknownNameError, match="known: icons"):
        hub.resolve(name)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "nowhere/"])
def test_a_path_that_does_not_exist_says_so(name: str):
    with pytest.raises(CheckpointError, match="no such directory"):
        hub.resolve(name)


def test_a_path_object_is_never_a_name(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such directory"):
        hub.resolve(Path("icon"))


def test_a_file_is_no_model(model_directory: Path):
    with pytest.raises(CheckpointError, match="is a file"):
        hub.resolve(model_directory / "config.json")


@pytest.mark.parametrize("missing", hub.NEEDED_FILES)
def test_a_directory_without_its_files_names_them(model_directory: Path, missing: str):
    (model_directory / missing).unlink()
    with pytest.raises(CheckpointError, match=f"no {missing} in it"):
        hub.resolve(model_directory)


def test_a_hub_name_fetches_only_the_files_of_a_model(
    model_directory: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: dict[str, object] = {}

    def fetch(repo_id: str, **options: object) -> str:
        asked.update(options, repo_id=repo_id)
        return str(model_directory)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert hub.resolve("hf://org/name@v2") == model_directory
    assert (asked["repo_id"], asked["revision"]) == ("org/name", "v2")
    assert asked["allow_patterns"] == list(hub.MODEL_FILES)
    hub.resolve("hf://org/name")
    assert asked["revision"] is None


def test_without_a_connection_the_error_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch):
    def fetch(repo_id: str, **_: object) -> str:
        raise hub_errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    expected = "cannot be reached.*config.json, model.safetensors.*https://huggingface.co/org/name"
    with pytest.raises(CheckpointError, match=expected) as caught:
        hub.resolve("hf://org/name")
    assert "\n" not in str(caught.value)


def test_a_malformed_hub_name_says_the_form():
    with pytest.raises(CheckpointError, match=r"expected hf://org/name\[@revision\]"):
        hub.resolve("hf://a b/c")


def test_no_cache_means_no_cached_models(monkeypatch: pytest.MonkeyPatch):
    def scan() -> object:
        raise hub_errors.CacheNotFound("none", cache_dir="/nowhere")

    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", scan)
    assert all(one.where == "embedded" for one in hub.known_models())
