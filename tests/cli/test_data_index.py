"""`twinlens data index`: indexes ahead of a run, once, with what is wrong told tar by tar."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from twinlens.data.datasets import open_dataset
from twinlens.data.left_out import NO_CAPTION, NO_IMAGE, OTHER, joined
from twinlens.data.webdataset import indexes
from twinlens.data.webdataset.duplicate_keys import DUPLICATE_KEY
from twinlens.data.webdataset.shards import write_shard


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    indexes._load_or_build_index.cache_clear()
    return tmp_path / "home"


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Four tars of three samples."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(4):
        keys = [f"{number}{letter}" for letter in "abc"]
        pairs = [(key, {"png": b"x" * 9, "txt": b"ant"}) for key in keys]
        write_shard(folder / f"{number}.tar", pairs)
    return folder


def test_what_is_indexed_is_counted_and_found_again(run: Run, tars: Path):
    first = json.loads(run("data", "index", tars, "--json").out)
    size = sum(tar.stat().st_size for tar in tars.iterdir())
    counts = {"tars": 4, "samples": 12, "bytes": size, "left_out": {}, "bad": []}
    assert first == counts | {"already_indexed": 0}
    (
        next(iter(indexes.index_cache_directory().glob("*.index")))
    ).unlink()  # as if stopped before it
    assert json.loads(run("data", "index", tars, "--json").out) == counts | {"already_indexed": 3}
    again = run("data", "index", f"{tars}/{{0..3}}.tar")
    assert again.out == f"4 tars with 12 samples, {size:,} bytes; 4 were indexed already\n"


def test_it_says_what_opening_says(run: Run, tars: Path):
    write_shard(tars / "0.tar", [("1a", {"png": b"x"}), ("2b", {"txt": b"ant"})])
    (tars / "notes.md").write_text("of another kind", "utf-8")
    opened = open_dataset(tars)
    whole = joined([opened.left_out, opened.without_caption])
    ended = run("data", "index", tars, "--json")
    assert json.loads(ended.out)["left_out"] == whole.as_json()
    assert set(whole.counts) == {OTHER, NO_IMAGE, NO_CAPTION, DUPLICATE_KEY}
    assert (ended.status, run("data", "index", tars, "--strict").status) == (0, 2)
    twice = json.loads(run("data", "index", f"{tars}::{tars}", "--json").out)["left_out"]
    assert {reason: one["count"] for reason, one in twice.items()} == dict.fromkeys(whole.counts, 2)


@pytest.mark.parametrize("workers", [(), ("--workers", 2)])
def test_bad_tars_are_told_one_by_one_and_the_others_indexed(
    run: Run, tars: Path, monkeypatch: pytest.MonkeyPatch, workers: tuple[object, ...]
):
    monkeypatch.setattr(indexes, "_MIN_BYTES_FOR_PROCESSES", 0)
    whole = (tars / "1.tar").read_bytes()
    (tars / "1.tar").write_bytes(whole[: len(whole) // 2])
    (tars / "3.tar").write_bytes(b"no tar")
    ended = run("data", "index", tars, *workers)
    assert ended.status == 2
    assert "2 tars with 6 samples" in ended.out
    assert "2 tars cannot be used" in ended.out
    lines = ended.err.splitlines()
    assert [any(f"{n}.tar: " in line for line in lines) for n in range(4)] == [0, 1, 0, 1]
    assert len(list(indexes.index_cache_directory().glob("*.index"))) == 2


def test_what_is_no_tars_is_refused(run: Run, tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("image,text\n")
    ended = run("data", "index", tmp_path / "none")
    assert (ended.status, "none" in ended.err) == (2, True)


def test_indexing_reports_how_far_it_is(tars: Path):
    told: list[tuple[int, int]] = []
    places = sorted(tars.iterdir())
    opened = list(
        indexes.iter_shards(places, save_indexes=True, progress=lambda *counts: told.append(counts))
    )
    assert [one.was_built for one in opened] == [True] * 4
    assert told == [(done, 4) for done in range(5)]
    told.clear()
    list(indexes.iter_shards(places, progress=lambda *counts: told.append(counts)))
    assert told == []
