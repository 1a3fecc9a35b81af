"""Changes of an index: whole or not at all, one writer, holes and compaction."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from tests.search.small import add, content, file, image, new_store, vectors
from twinlens.errors import DataError, ShapeError
from twinlens.search.store import Store
from twinlens.search.writer import IndexedFile, writing


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "photos.idx")


def test_an_image_goes_with_its_last_file(store: Store):
    add(store, 1, 2)
    with writing(store) as writer:
        again = IndexedFile(path="again.png", size=1, modified=1)
        writer.add([], vectors(), [(again, "hash 1")])
        assert writer.remove_files(["1.png", "never.png"]) == 1
    assert list(content(store)) == ["again.png", "2.png"]
    with writing(store) as writer:
        writer.remove_files(["again.png"])
    assert list(content(store)) == ["2.png"]


def test_a_file_with_another_image_leaves_its_old_one(store: Store):
    add(store, 1, 2)
    with writing(store) as writer:
        writer.add([image(3)], vectors(3), [(file(1), "hash 3")])
    assert content(store) == {"1.png": vectors(3)[0].tolist(), "2.png": vectors(2)[0].tolist()}
    assert store.read().num_images == 2


def test_compacting_closes_holes_while_a_reader_keeps_what_it_has(store: Store):
    add(store, *range(1, 9))
    reader = Store(store.directory)
    before = reader.read().vectors
    expected = before.copy()
    with writing(store) as writer:
        writer.remove_files([f"{n}.png" for n in (1, 4, 8)])
        assert writer.compact() == 3
        assert writer.compact() == 0
    assert np.array_equal(before, expected)
    for one in (store, reader):
        assert content(one) == {f"{n}.png": vectors(n)[0].tolist() for n in (2, 3, 5, 6, 7)}
        assert len(one.read().vectors) == 5
    assert len(list(store.directory.glob("vectors-*"))) == 1
    add(store, 9)
    assert content(reader)["9.png"] == vectors(9)[0].tolist()


def test_vectors_that_nobody_points_at_are_written_over(store: Store):
    add(store, 1)
    with store.vectors_path(0).open("ab") as vectors_file:
        vectors_file.write(bytes(100))  # as a writer that was killed left it
    add(store, 2)
    assert content(store) == {f"{n}.png": vectors(n)[0].tolist() for n in (1, 2)}


def test_what_a_killed_writer_left_is_removed(store: Store):
    add(store, 1)
    left = [store.vectors_path(7), store.directory / "index.sqlite.99.partial"]
    for path in left:
        path.write_bytes(bytes(100))
    add(store, 2)
    assert not any(path.exists() for path in left)


def test_vectors_that_no_search_finds_are_refused(store: Store):
    for bad in (0.0, np.nan, np.inf):
        spoiled = vectors(1, 2)
        spoiled[1] = bad
        with writing(store) as writer, pytest.raises(DataError, match="the first is number 1"):
            writer.add([image(1), image(2)], spoiled, [])
    with writing(store) as writer, pytest.raises(ShapeError, match=r"got \[1, 4\]"):
        writer.add([image(1)], np.ones((1, 4), np.float32), [])
    assert content(store) == {}


def test_a_second_writer_is_told(store: Store):
    with (
        writing(store),
        pytest.raises(DataError, match="is being written by"),
        writing(Store(store.directory)),
    ):
        pass


def test_a_full_disk_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    add(store, 1)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        add(store, 2)
    monkeypatch.undo()
    assert list(content(store)) == ["1.png"]
    add(store, 2)
    assert list(content(store)) == ["1.png", "2.png"]


def test_a_full_database_is_one_line(store: Store):
    add(store, 1)
    pages = store.database.execute("PRAGMA page_count").fetchone()[0]
    store.database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DataError, match="the index's database: database or disk is full"):
        add(store, *range(2, 2_000))
    store.database.execute("PRAGMA max_page_count = 100000")
    assert list(content(store)) == ["1.png"]


def test_files_that_cannot_be_indexed_are_remembered_until_they_are(store: Store):
    add(store, 1)
    with writing(store) as writer:
        writer.note_unreadable([(file(1), "cut off")])
    assert content(store) == {}
    with writing(store) as writer:
        writer.add([image(2)], vectors(2), [(file(1), "hash 2")])
    assert list(content(store)) == ["1.png"]
    assert store.database.execute("SELECT count(*) FROM unreadable").fetchone() == (0,)


def test_sources_are_forgotten_with_those_below(store: Store):
    with writing(store) as writer:
        for spec in ("/a", "/a/b", "/ab"):
            writer.add_source(spec)
        assert store.sources() == ["/a", "/a/b", "/ab"]
        writer.forget_source("/a")
    assert store.sources() == ["/ab"]
