"""Codes: their files, and that a search by them gives the rows of brute force."""

from pathlib import Path

import numpy as np
import pytest

from tests.search.test_nearest import NO_HOLES, brute_force, unit
from twinlens.errors import DataError
from twinlens.search import codes as codes_module
from twinlens.search import nearest as nearest_module
from twinlens.search.code_search import search_codes
from twinlens.search.codes import open_codes, sweep_codes, update_codes
from twinlens.search.nearest import Nearest

COUNT, WIDTH = 6_000, 48


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes_module, "MIN_ROWS", 1_000)
    monkeypatch.setattr(codes_module, "_FIT_ROWS", 2_000)
    monkeypatch.setattr(nearest_module, "_EXACT_ROWS", 100)


def images(count: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Decaying variances around a common mean, every fifth a near copy of another."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, width)) * np.arange(1, width + 1) ** -0.4
    values[::5] = values[1::5] + 0.1 * values[::5] if count % 5 == 0 else values[::5]
    return unit(values + np.linspace(-1, 1, width))


def texts(count: int, vectors: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(7)
    apart = unit(rng.standard_normal(vectors.shape[1]))
    near = vectors[rng.integers(0, len(vectors), count)] - vectors.mean(axis=0)
    return unit(apart + unit(near) / 2 + unit(rng.standard_normal(near.shape)) / 2)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return images(COUNT)


def test_codes_find_the_rows_of_brute_force(tmp_path: Path, vectors: np.ndarray):
    update_codes(tmp_path, "0", vectors, NO_HOLES)
    codes = open_codes(tmp_path, "0")
    assert codes is not None
    assert len(codes.high) == len(codes.low) == COUNT
    nearest = Nearest(vectors, NO_HOLES, codes)
    queries = np.concatenate([vectors[::1_000], texts(14, vectors)])
    hits = 0
    for query in queries:
        rows, scores = nearest.search(query[None], 10)
        expected = brute_force(vectors, query, 10, np.arange(COUNT))
        hits += len(np.intersect1d(rows[0], expected[0]))
        np.testing.assert_array_equal(scores[0], np.sort(scores[0])[::-1])
    assert hits >= 10 * len(queries) - 1


@pytest.mark.parametrize("share", [0.8, 0.5, 0.1])
def test_filters_and_holes_give_the_rows_of_brute_force(
    tmp_path: Path, vectors: np.ndarray, share: float
):
    update_codes(tmp_path, "0", vectors, NO_HOLES)
    rng = np.random.default_rng(int(share * 10))
    holes = np.flatnonzero(rng.random(COUNT) < 0.1)
    nearest = Nearest(vectors, holes, open_codes(tmp_path, "0"))
    allowed = np.flatnonzero(rng.random(COUNT) < share)
    # One cluster of rows too, which leaves most blocks without any.
    for some in (allowed, np.arange(2_000, 2_500)):
        for query in texts(8, vectors):
            rows, scores = nearest.search(query[None], 3, allowed=some)
            expected = brute_force(vectors, query, 3, np.setdiff1d(some, holes))
            np.testing.assert_array_equal(rows[0], expected[0])
            np.testing.assert_array_equal(scores[0], expected[1])


def test_later_rows_are_searched_before_and_after_they_have_codes(
    tmp_path: Path, vectors: np.ndarray
):
    update_codes(tmp_path, "0", vectors[:4_000], NO_HOLES)
    few = open_codes(tmp_path, "0")
    update_codes(tmp_path, "0", vectors, NO_HOLES)
    more = open_codes(tmp_path, "0")
    assert few is not None
    assert more is not None
    assert (len(few.high), len(more.high)) == (4_000, COUNT)
    np.testing.assert_array_equal(more.high.by_row()[:4_000], few.high.by_row())
    assert [one.name for one in tmp_path.iterdir()] == ["codes-0-4000"]
    allowed = np.arange(1_000, COUNT - 500)
    for codes in (few, more):
        nearest = Nearest(vectors, NO_HOLES, codes)
        for row in (3_999, 4_000, 5_400):
            rows, _ = nearest.search(vectors[row][None], 5, allowed=allowed)
            expected = brute_force(vectors, vectors[row], 5, allowed)
            np.testing.assert_array_equal(rows[0], expected[0])


def test_codes_are_made_anew_when_rows_have_doubled_and_swept_with_their_generation(
    tmp_path: Path, vectors: np.ndarray
):
    update_codes(tmp_path, "0", vectors[:999], NO_HOLES)
    assert open_codes(tmp_path, "0") is None
    update_codes(tmp_path, "0", vectors[:1_500], NO_HOLES)
    old = open_codes(tmp_path, "0")
    update_codes(tmp_path, "0", vectors[:3_000], NO_HOLES)
    assert [one.name for one in tmp_path.iterdir()] == ["codes-0-3000"]
    assert old is not None
    assert old.high.by_row().any()  # a reader keeps what it has mapped
    sweep_codes(tmp_path, "1")
    assert not list(tmp_path.iterdir())


def test_an_append_that_was_killed_is_done_again(tmp_path: Path, vectors: np.ndarray):
    update_codes(tmp_path, "0", vectors[:4_000], NO_HOLES)
    with (tmp_path / "codes-0-4000" / "high.u64").open("ab") as file:
        file.write(b"half a row")
    before = open_codes(tmp_path, "0")
    assert before is not None
    assert len(before.high) == 4_000
    update_codes(tmp_path, "0", vectors, NO_HOLES)
    after = open_codes(tmp_path, "0")
    whole = tmp_path / "whole"
    whole.mkdir()
    assert after is not None
    levels = after.transform.levels(vectors)
    np.testing.assert_array_equal(after.high.by_row(), codes_module.pack_bits(levels >= 2))
    np.testing.assert_array_equal(after.low.by_row(), codes_module.pack_bits(levels % 2 == 1))


@pytest.mark.parametrize("width", [3, 48, 600])
def test_any_width_and_any_vectors_have_codes(tmp_path: Path, width: int):
    same = np.repeat(unit(np.ones((1, width))), 1_000, axis=0)
    vectors = np.concatenate([same, images(1_000, 5, width)])
    update_codes(tmp_path, "0", vectors, np.arange(10))
    codes = open_codes(tmp_path, "0")
    assert codes is not None
    assert codes.high.by_row().shape == (2_000, 16 if width == 600 else 8)
    query = unit(np.ones(width) + 0.01 * vectors[1_500])
    rows, _ = search_codes(codes, vectors, query, 5, np.arange(20, 2_000))
    np.testing.assert_array_equal(rows, brute_force(vectors, query, 5, np.arange(20, 2_000))[0])
    assert len(search_codes(codes, vectors, query, 5, np.arange(3))[0]) == 3
    update_codes(tmp_path, "1", same, NO_HOLES)
    nothing = open_codes(tmp_path, "1")
    assert nothing is not None
    np.testing.assert_array_equal(search_codes(nothing, same, query, 4)[0], [0, 1, 2, 3])


def test_codes_that_cannot_be_read_are_named(tmp_path: Path, vectors: np.ndarray):
    update_codes(tmp_path, "0", vectors, NO_HOLES)
    (tmp_path / "codes-0-6000" / "low.u64").unlink()
    with pytest.raises(DataError, match="codes-0-6000: cannot be read"):
        open_codes(tmp_path, "0")


def test_damaged_codes_are_one_line(tmp_path: Path):
    folder = tmp_path / "codes-0-5"
    folder.mkdir()
    (folder / "transform.npz").write_bytes(b"PK cut")
    with pytest.raises(DataError, match="the codes are damaged: remove the folder"):
        open_codes(tmp_path, "0")
