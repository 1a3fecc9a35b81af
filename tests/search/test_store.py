"""The store of an index as readers see it: whole changes, other versions, damage."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.search.small import add, content, new_store, vectors
from twinlens.errors import DataError
from twinlens.search.store import MovedError, Store
from twinlens.search.where import parse_filter
from twinlens.search.writer import IndexedFile, writing


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "photos.idx")


def test_what_was_added_is_there_and_in_the_next_process(store: Store):
    add(store, 1, 2)
    add(store, 3)
    for one in (store, Store(store.directory)):
        assert content(one) == {f"{n}.png": vectors(n)[0].tolist() for n in (1, 2, 3)}
        assert one.rows_by_hash(["hash 3", "hash 9"]) == {"hash 3": 2}
        assert one.about()["model"] == "icons"
        (told,) = one.describe([2])
        assert told == {
            "paths": ["3.png"],
            "metadata": {"id": "hash 3", "width": 30, "height": 60, "size": 3},
        }


def test_an_open_reader_follows(store: Store):
    reader = Store(store.directory)
    assert reader.read().num_images == 0
    add(store, 1, 2)
    first = reader.read()
    assert first.num_images == 2
    assert reader.read() is first  # nothing has changed
    with writing(store) as writer:
        writer.remove_files(["1.png"])
        writer.compact()
    assert list(content(reader)) == ["2.png"]
    assert first.num_images == 2  # what was read stays whole
    assert np.array_equal(first.vectors, vectors(1, 2))


def test_a_row_that_is_gone_is_not_described(store: Store):
    add(store, 1, 2)
    with writing(store) as writer:
        writer.remove_files(["1.png"])
    assert [one["paths"] for one in store.describe([0, 1])] == [["2.png"]]


def test_filters_name_the_columns_of_the_input(store: Store):
    files = [
        ("a.png", {"lang": "en", "year": "1999", "row": "first", "select": "3"}),
        ("b.png", {"lang": "de", "year": ""}),
    ]
    add(store, 1, 2)
    with writing(store) as writer:
        for n, (path, metadata) in enumerate(files, 1):
            file = IndexedFile(path=path, size=n, modified=n, metadata=metadata)
            writer.add([], vectors(), [(file, f"hash {n}")])
    assert store.columns()["year"] == "integer"

    def rows(where: str) -> list[int]:
        return store.matching_rows(parse_filter(where, store.columns())).tolist()

    assert rows("lang = 'en' OR width = 20") == [0, 1]
    assert rows("year < 2000") == [0]
    assert rows("row = 'first' AND \"select\" = 3") == [0]
    assert rows("year IS NULL AND path LIKE 'b%'") == [1]
    matching = parse_filter("lang = 'de'", store.columns())
    assert [one["paths"] for one in store.describe([1], matching)] == [["b.png"]]


def test_names_of_no_encoding_come_back(store: Store):
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x9a\xb2.png")
    add(store, 1)
    with writing(store) as writer:
        file = IndexedFile(path=name, size=1, modified=1, text=name, metadata={"a": name})
        writer.add([], vectors(), [(file, "hash 1")])
    paths = store.describe([0])[0]["paths"]
    assert sorted(paths) == sorted([name, "1.png"])


def test_a_directory_that_nobody_may_write_to_is_read(store: Store, monkeypatch):
    add(store, 1)
    store.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    reader = Store(store.directory)
    assert list(content(reader)) == ["1.png"]


def test_other_directories_and_versions(store: Store, tmp_path: Path):
    with pytest.raises(DataError, match="got no index"):
        Store(tmp_path)
    store.database.execute("UPDATE about SET value = '2' WHERE key = 'format'")
    with pytest.raises(DataError, match="format: got '2', expected 1"):
        Store(store.directory)


@pytest.mark.parametrize("damage", ["gone", "short", "no database"])
def test_damage_is_told_in_one_line(store: Store, damage: str):
    add(store, 1, 2)
    store.close()
    path = store.vectors_path(0)
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        (store.directory / "index.sqlite").write_bytes(b"no database, but as long as one" * 99)
    with pytest.raises(DataError) as caught:
        Store(store.directory).read()
    assert "\n" not in str(caught.value)


def test_captions_are_spread_over_the_index(store: Store):
    add(store, *range(1, 9))
    with writing(store) as writer:
        for n in range(1, 9):
            file = IndexedFile(path=f"{n}.png", size=n, modified=n, text=f"caption {n}")
            writer.add([], vectors(), [(file, f"hash {n}")])
    found = store.texts(4)
    assert len(found) == 4
    assert all(text == f"caption {row + 1}" for row, text in found)
    assert json.dumps(found)


def test_a_transaction_whose_vectors_are_gone_says_so(store: Store):
    add(store, 1, 2)
    reader = Store(store.directory)
    with reader.transaction("DEFERRED"):
        reader.about()
        with writing(store) as writer:
            writer.remove_files(["1.png"])
            writer.compact()
        with pytest.raises(MovedError):
            reader.read()
    assert list(content(reader)) == ["2.png"]
