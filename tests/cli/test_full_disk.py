"""A disk that is full: one line, and nothing left that was not there before."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.tiny import CLIP_VOCABULARY, tiny_config
from tests.train.runs import tiny_recipe
from twinlens.benchmark import precision_costs
from twinlens.train.recipes import builtin

QUICK = ["--device", "cpu", "--precision", "fp32", "--batch", "1", "--seconds", "1e-6"]

WORDS: dict[str, list[str]] = {
    "convert": ["convert", "MODEL", "OUT"],
    "convert to hf": ["convert", "MODEL", "OUT", "--to", "hf"],
    "convert to open_clip": ["convert", "MODEL", "OUT", "--to", "open_clip"],
    "export": ["export", "MODEL", "OUT", "--format", "torch"],
    "interpolate": ["interpolate", "MODEL", "MODEL", "OUT"],
    "eval": [
        "eval",
        "MODEL",
        "--data",
        "IMAGES",
        "--out",
        "OUT",
        "--no-cache",
        "--engine",
        "torch",
    ],
    "eval's cache": [
        "eval",
        "MODEL",
        "--data",
        "IMAGES",
        "--cache-dir",
        "OUT",
        "--engine",
        "torch",
    ],
    "bench": ["bench", "MODEL", *QUICK, "--engine", "torch", "--out", "OUT/speed.json"],
    "bench's page": ["bench", "MODEL", *QUICK, "--engine", "torch", "--html", "OUT/speed.html"],
    "data icons": ["data", "icons", "--preset", "small", "--out", "OUT", "--cache", "HERE/cache"],
    "train": ["train", "--recipe", "tiny", "--data", "HERE/pairs.csv", "--out", "OUT"],
}


_WHOLE = ("convert", "convert to hf", "convert to open_clip", "export", "interpolate", "eval")


@pytest.fixture(autouse=True)
def a_tiny_recipe(monkeypatch: pytest.MonkeyPatch, image_folders: Path, tmp_path: Path) -> None:
    model = tiny_config(vocab_size=CLIP_VOCABULARY, context_length=16)
    recipe = tiny_recipe("vit", model=model, batch_size=4, steps=4, checkpoint_every=2)
    monkeypatch.setitem(builtin.PRETRAIN_RECIPES, "tiny", lambda: recipe)
    images = sorted(image_folders.glob("*/*.png"))
    rows = [f"{path},a {path.parent.name} one" for path in images]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,text", *rows, ""]))


@pytest.fixture
def made(
    monkeypatch: pytest.MonkeyPatch, tiny_directory: Path, image_folders: Path, tmp_path: Path
) -> dict[str, Path]:
    """What the words in capitals stand for; `OUT` is two directories below an empty one."""
    monkeypatch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *asked: 2.5e8)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / "a" / "b"
    return {"MODEL": tiny_directory, "IMAGES": image_folders, "OUT": out, "HERE": tmp_path}


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the disk be full from one file on."""

    def after(files: int) -> None:
        sync, brought = os.fsync, [0]

        def refuse(handle: int) -> None:
            brought[0] += 1
            if brought[0] > files:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(handle)

        monkeypatch.setattr("os.fsync", refuse)

    return after


@pytest.mark.parametrize(
    ("verb", "files"),
    [
        *((verb, 0) for verb in WORDS),
        # With one whole file, which is of no use alone.
        *((verb, 1) for verb in WORDS if verb in _WHOLE),
    ],
)
def test_nothing_is_left(
    run: Run,
    full: Callable[[int], None],
    verb: str,
    files: int,
    made: dict[str, Path],
):
    here = made["OUT"].parent.parent
    full(files)
    ended = run(*(_filled(word, made) for word in WORDS[verb]))
    assert ended.status == 2, ended.err
    said = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert not list(here.rglob("*"))


@pytest.mark.parametrize("files", [1, 4])
def test_a_run_that_began_leaves_no_half_of_anything(
    run: Run, full: Callable[[int], None], files: int, tmp_path: Path
):
    full(files)
    out = tmp_path / "a" / "run"
    ended = run("train", "--recipe", "tiny", "--data", tmp_path / "pairs.csv", "--out", out)
    assert ended.status == 2, ended.err
    assert "No space left on device" in ended.err.splitlines()[-1]
    left = list(out.rglob("*"))
    assert (out / "recipe.json") in left
    assert not [path for path in left if path.is_dir() and not any(path.iterdir())]
    assert not [path for path in left if ".partial" in path.name]


def _filled(word: str, made: dict[str, Path]) -> str:
    first, below, rest = word.partition("/")
    return f"{made.get(first, first)}{below}{rest}"


def test_what_was_there_stays(
    run: Run,
    full: Callable[[int], None],
    tiny_directory: Path,
    image_folders: Path,
    tmp_path: Path,
):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    full(0)
    words = ("eval", tiny_directory, "--data", image_folders, "--no-cache", "--out", tmp_path)
    words += ("--engine", "torch")  # whose compiled towers are cached nowhere
    assert run(*words).status == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "empty").is_dir()
