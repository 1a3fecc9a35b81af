"""The store of an index: whole changes, holes, compaction, one writer."""

from pathlib import Path

import numpy as np
import pytest

from twinlens.errors import DataError, ShapeError
from twinlens.search.store import FileState, ImageRow, Store


def vectors(*numbers: int) -> np.ndarray:
    made = np.stack([np.random.default_rng(n).standard_normal(8) for n in numbers])
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def add(store: Store, *numbers: int) -> None:
    with store.writing() as writer:
        writer.add(
            [ImageRow(f"hash {n}", 10 * n, 20 * n) for n in numbers],
            vectors(*numbers),
            [(FileState(f"{n}.png", n, n), f"hash {n}") for n in numbers],
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "photos.idx", 8, {"model": "icons"})


def content(store: Store) -> dict[str, list[float]]:
    found, holes = store.read()
    rows = [row for row in range(len(found)) if row not in holes]
    return {
        one["paths"][0]: found[row].tolist()
        for row, one in zip(rows, store.describe(rows), strict=True)
    }


def test_what_was_added_is_there_and_in_the_next_process(store: Store):
    add(store, 1, 2)
    add(store, 3)
    for one in (store, Store(store.directory)):
        assert content(one) == {f"{n}.png": vectors(n)[0].tolist() for n in (1, 2, 3)}
        assert one.describe([2]) == [{"paths": ["3.png"], "width": 30, "height": 60}]
        assert one.files()["2.png"] == FileState("2.png", 2, 2)
        assert one.rows_by_hash(["hash 3", "hash 9"]) == {"hash 3": 2}
        assert one.about()["model"] == "icons"


def test_an_image_goes_with_its_last_file(store: Store):
    add(store, 1, 2)
    with store.writing() as writer:
        writer.add([], vectors(1)[:0], [(FileState("again.png", 1, 1), "hash 1")])
        writer.remove_files(["1.png", "never.png"])
    assert list(content(store)) == ["again.png", "2.png"]
    with store.writing() as writer:
        writer.remove_files(["again.png"])
    assert list(content(store)) == ["2.png"]


def test_compacting_closes_holes_while_a_reader_keeps_what_it_has(store: Store):
    add(store, *range(1, 9))
    reader = Store(store.directory)
    before, _ = reader.read()
    expected = before.copy()
    with store.writing() as writer:
        writer.remove_files([f"{n}.png" for n in (1, 4, 8)])
        assert writer.compact() == 3
        assert writer.compact() == 0
    assert np.array_equal(before, expected)
    for one in (store, reader):
        assert content(one) == {f"{n}.png": vectors(n)[0].tolist() for n in (2, 3, 5, 6, 7)}
        assert len(one.read()[0]) == 5
    assert len(list(store.directory.glob("vectors-*"))) == 1
    add(store, 9)
    assert content(reader)["9.png"] == vectors(9)[0].tolist()


def test_vectors_that_nobody_points_at_are_written_over(store: Store):
    add(store, 1)
    with (store.directory / "vectors-0.f32").open("ab") as file:
        file.write(bytes(100))  # as a writer that was killed left it
    add(store, 2)
    assert content(store) == {f"{n}.png": vectors(n)[0].tolist() for n in (1, 2)}


def test_vectors_that_no_search_finds_are_refused(store: Store):
    for bad in (0.0, np.nan, np.inf):
        spoiled = vectors(1, 2)
        spoiled[1] = bad
        with store.writing() as writer, pytest.raises(DataError, match="the first is number 1"):
            writer.add([ImageRow("a", 1, 1), ImageRow("b", 1, 1)], spoiled, [])
    with store.writing() as writer, pytest.raises(ShapeError, match=r"got \[1, 4\]"):
        writer.add([ImageRow("a", 1, 1)], np.ones((1, 4), np.float32), [])
    assert content(store) == {}


def test_a_second_writer_is_told(store: Store):
    with store.writing(), pytest.raises(DataError, match="is being written by"):
        with Store(store.directory).writing():
            pass


def test_other_directories_and_versions(store: Store, tmp_path: Path):
    with pytest.raises(DataError, match="got no index"):
        Store(tmp_path)
    store._database.execute("UPDATE about SET value = '2' WHERE key = 'format'")
    store._database.commit()
    with pytest.raises(DataError, match="format: got '2', expected 1"):
        Store(store.directory)
