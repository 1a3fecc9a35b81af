"""Queries: words, images and mixtures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinlens.errors import ConfigError, DataError
from twinlens.search.query import (
    Part,
    Query,
    as_query,
    image_part,
    mixture,
    parse_mixture,
    read_queries,
)


def test_kinds():
    assert as_query("cat").parts == (Part("text", "cat"),)
    assert as_query(Path("a.png")).parts == (Part("image", Path("a.png")),)
    assert as_query({"cat": 1, "dog": -0.5}).parts[1] == Part("text", "dog", -0.5)
    picture = Image.new("RGB", (2, 2))
    assert str(as_query(picture)) == "<image>"
    assert as_query(np.zeros((2, 2, 3), np.uint8)).has_images
    assert str(as_query({"cat": 1, "dog": -0.5})) == "cat:1, dog:-0.5"
    query = as_query("cat")
    assert as_query(query) is query


@pytest.mark.parametrize(
    "query", ["", "  ", {}, {"cat": -1}, {"cat": float("nan")}, 3, None, ["a"]]
)
def test_what_is_no_query(query: object):
    with pytest.raises(ConfigError, match="query: got"):
        as_query(query)


def test_the_kind_with_most_weight():
    assert not Query((Part("text", "a", 1), Part("image", "b", 1))).is_of_images
    assert Query((Part("text", "a", 1), Part("id", "b", 1.5))).is_of_images


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sunset:1,beach:0.5", [("sunset", 1), ("beach", 0.5)]),
        ("red bicycle , old: -2", [("red bicycle", 1), ("old", -2)]),
        ("16:9 poster:.5", [("16:9 poster", 0.5)]),
        ("cat", [("cat", 1)]),
    ],
)
def test_mixtures(text: str, parts: list[tuple[str, float]]):
    assert [(part.value, part.weight) for part in parse_mixture(text)] == parts


@pytest.mark.parametrize("text", ["", ":1", "a,,b", "a:1,:2", "red:x", "red:nan", "red:"])
def test_wrong_mixtures(text: str):
    with pytest.raises(ConfigError, match="--mix: got"):
        parse_mixture(text)


def test_images_are_files_or_ids(tmp_path: Path):
    path = tmp_path / "abcdef"
    path.write_bytes(b"")
    assert image_part(str(path)) == Part("image", path)
    assert image_part("0d4a9fda") == Part("id", "0d4a9fda")
    for wrong in ("nothing.png", "abc", ""):
        with pytest.raises(DataError, match="--image: got"):
            image_part(wrong or "zz")


def test_queries_of_a_file(tmp_path: Path):
    path = tmp_path / "queries.txt"
    path.write_text("\ufeffa cat\n\n  two dogs \n", encoding="utf-8")
    assert [str(query) for query in read_queries(path)] == ["a cat", "two dogs"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="got no UTF-8 text"):
        read_queries(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="got no queries"):
        read_queries(path)


def test_mixtures_are_of_unit_length_and_weighted():
    one, other = np.eye(4, dtype=np.float32)[:2]
    mixed = mixture((Part("text", "a", 3), Part("text", "b", 4)), [one, other])
    assert mixed.dtype == np.float32
    assert mixed[:2].tolist() == pytest.approx([0.6, 0.8])
    with pytest.raises(DataError, match="cancel each other out"):
        mixture((Part("text", "a", 1), Part("text", "a", -1)), [one, one])
