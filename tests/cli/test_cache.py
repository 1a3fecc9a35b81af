"""`twinlens cache` lists and clears the models that were compiled for this processor."""

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def test_listed_and_cleared(run, tiny_directory: Path, image_folders: Path):
    assert json.loads(run("cache", "--json").out)["files"] == []
    image = image_folders / "red" / "0.png"
    options = ("--labels", "a,b", "--model", tiny_directory, "--engine", "openvino")
    assert run("classify", image, *options).status == 0
    files = json.loads(run("cache", "--json").out)["files"]
    assert sorted(file["tower"] for file in files) == ["image embedding", "text embedding"]
    listed = run("cache")
    assert "image embedding" in listed.out
    assert "2 compiled models" in listed.err
    assert "removed 2 compiled models" in run("cache", "--clear").err
    assert json.loads(run("cache", "--clear", "--json").out)["removed"] == 0
