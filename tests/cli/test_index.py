"""`twinlens index`: what it prints, which model it takes, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Run
from twinlens.cli import index as index_verb
from twinlens.hub.published import published_models
from twinlens.hub.resolve import KnownModel

DRAWINGS = Path("src/twinlens/assets/images").resolve()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    (tmp_path / "photographs").mkdir()
    for n in range(3):
        noise = np.random.default_rng(n).normal(128, 60, (90, 120, 3)).clip(0, 255)
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "photographs" / f"{n}.jpg")
    return tmp_path / "photographs"


def test_a_folder_in_one_command_and_again(run: Run, tmp_path: Path):
    out = tmp_path / "drawings.idx"
    first = run("index", DRAWINGS, "--out", out)
    assert first.status == 0, first.err
    assert first.err == "model: icons\n"
    assert first.out.startswith(f"{out}: 6 images (6 added), ")
    again = run("index", "--out", out, "--json")
    told = json.loads(again.out)
    assert told.pop("seconds") > 0
    assert told == {
        "added": 0, "changed": 0, "removed": 0, "unchanged": 6, "duplicates": 0,
        "unreadable": {}, "left_out": {}, "rows": 6, "model": "icons",
    }  # fmt: skip
    assert again.err == ""


def test_unreadable_images_are_listed_and_the_others_indexed(run: Run, tmp_path: Path):
    folder = tmp_path / "drawings"
    folder.mkdir()
    (folder / "cat.png").write_bytes((DRAWINGS / "cat.png").read_bytes())
    (folder / "zero.png").write_bytes(b"")
    ended = run("index", folder, "--out", tmp_path / "x.idx", "--json")
    assert ended.status == 2
    told = json.loads(ended.out)
    assert (told["added"], told["rows"]) == (1, 1)
    (reason,) = told["unreadable"]
    assert told["unreadable"][reason] == {"count": 1, "examples": [str(folder / "zero.png")]}
    assert "error: 1 x got an empty file" in ended.err


def test_photographs_are_refused_unless_the_model_is_named(
    run: Run, photographs: Path, tmp_path: Path
):
    out = tmp_path / "x.idx"
    refused = run("index", photographs, "--out", out)
    assert refused.status == 2
    assert "3 of 3 images do not look like drawings" in refused.err
    assert "--model openai/ViT-B-32" in refused.err
    assert not out.exists()
    assert run("index", photographs, "--out", out, "--model", "icons").status == 0
    assert run("index", photographs, "--out", out).status == 0  # it is the index's own now


def test_the_best_model_of_the_cache(monkeypatch: pytest.MonkeyPatch):
    def known(*names: str) -> list[KnownModel]:
        cached = [
            KnownModel(name=name, where="cached", path=Path(), published=published_models()[name])
            for name in names
        ]
        return [KnownModel(name="icons", where="embedded", path=Path()), *cached]

    for names, best in ((), "icons"), (("openai/RN50", "openai/ViT-B-32"), "openai/ViT-B-32"):
        monkeypatch.setattr("twinlens.hub.resolve.known_models", lambda names=names: known(*names))
        assert index_verb.best_cached_model() == best


def test_removing_and_compacting(run: Run, tmp_path: Path):
    out = tmp_path / "x.idx"
    run("index", DRAWINGS, "--out", out)
    ended = run("index", "--out", out, "--remove", DRAWINGS / "cat.png", "--compact", "--json")
    told = json.loads(ended.out)
    assert (told["removed"], told["rows"]) == (1, 5)
    assert [path.name for path in out.glob("vectors-*")] == ["vectors-1.f32"]
    both = run("index", DRAWINGS, "--out", out, "--remove", DRAWINGS / "dog.png")
    assert both.status == 2
    assert "--remove: got folders to index beside it" in both.err


def test_another_model_is_refused(run: Run, tmp_path: Path, tiny_directory: Path):
    out = tmp_path / "x.idx"
    run("index", DRAWINGS, "--out", out)
    ended = run("index", DRAWINGS, "--out", out, "--model", tiny_directory)
    assert ended.status == 2
    assert "expected icons" in ended.err
    assert ended.err.count("\n") == 1


def test_without_folders_an_index_must_be_there(run: Run, tmp_path: Path):
    ended = run("index", "--out", tmp_path / "x.idx")
    assert (ended.status, "got nothing to index" in ended.err) == (2, True)
