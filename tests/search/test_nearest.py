"""Exact search and the choice between it and codes, against brute force."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.errors import ConfigError, DataError, ShapeError
from twinlens.search import exact
from twinlens.search.nearest import Nearest

NO_HOLES = np.zeros(0, np.int64)


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def brute_force(
    vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    scores = np.clip(np.vecdot(vectors[rows], query), -1, 1)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count, width = draw(st.integers(0, 70)), draw(st.integers(1, 20))
    kinds = draw(st.integers(1, 80))  # few kinds of vectors: many ties
    vectors = unit(rng.standard_normal((kinds, width)) + 1e-3)[rng.integers(0, kinds, count)]
    queries = unit(rng.standard_normal((draw(st.integers(0, 11)), width)) + 1e-3)
    holes = np.flatnonzero(rng.random(count) < draw(st.sampled_from([0, 0.2, 1])))
    share = draw(st.sampled_from([None, 0, 0.1, 0.7]))
    allowed = None if share is None else np.flatnonzero(rng.random(count) < share)
    return vectors, queries, draw(st.integers(1, 90)), holes, allowed


@settings(deadline=None, max_examples=100)
@given(cases())
def test_the_answer_is_that_of_brute_force(case: tuple):
    vectors, queries, k, holes, allowed = case
    rows, scores = Nearest(vectors, holes).search(queries, k, allowed=allowed)
    searched = np.arange(len(vectors)) if allowed is None else allowed
    searched = np.setdiff1d(searched, holes)
    assert rows.shape == scores.shape == (len(queries), min(k, len(searched)))
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
    for query, got_rows, got_scores in zip(queries, rows, scores, strict=True):
        expected_rows, expected_scores = brute_force(vectors, query, k, searched)
        np.testing.assert_array_equal(got_rows, expected_rows)
        np.testing.assert_array_equal(got_scores, expected_scores)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.05])
def test_chunks_and_windows_change_nothing(monkeypatch: pytest.MonkeyPatch, share: float):
    rng = np.random.default_rng(3)
    vectors, queries = unit(rng.standard_normal((3_000, 16))), unit(rng.standard_normal((3, 16)))
    allowed = np.flatnonzero(rng.random(3_000) < share)
    whole = Nearest(vectors, NO_HOLES).search(queries, 10, allowed=allowed)
    monkeypatch.setattr(exact, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(exact, "_GATHERED_ROWS", 5)
    monkeypatch.setattr(exact, "_WINDOW_BYTES", 16 * 4 * 11)
    parts = Nearest(vectors, NO_HOLES).search(queries, 10, allowed=allowed)
    np.testing.assert_array_equal(parts, whole)


def test_a_score_depends_on_its_two_vectors_alone():
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng.standard_normal((999, 512))), unit(rng.standard_normal((20, 512)))
    rows, scores = Nearest(vectors, NO_HOLES).search(queries, 999)
    for number, query in enumerate(queries):
        some = np.sort(rows[number, :3])
        one = Nearest(vectors, NO_HOLES).search(query[None], 3, allowed=some)
        np.testing.assert_array_equal(one[0][0], rows[number, :3])
        np.testing.assert_array_equal(one[1][0], scores[number, :3])


def test_a_mapped_file_is_searched_in_threads_and_its_pages_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exact, "_RESIDENT_BYTES", 1)
    rng = np.random.default_rng(1)
    vectors = unit(rng.standard_normal((5_000, 32)))
    (tmp_path / "vectors.f32").write_bytes(vectors.tobytes())
    mapped = np.memmap(tmp_path / "vectors.f32", np.float32, "r", shape=(6_000 - 1_000, 32))[:4_900]
    queries = unit(rng.standard_normal((40, 32)))
    nearest = Nearest(mapped, NO_HOLES)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: nearest.search(query[None], 5), queries))
    for query, (rows, scores) in zip(queries, found, strict=True):
        expected = brute_force(vectors, query, 5, np.arange(4_900))
        np.testing.assert_array_equal(rows[0], expected[0])
        np.testing.assert_array_equal(scores[0], expected[1])


def test_a_copy_of_the_query_has_a_score_of_at_most_one():
    vectors = unit(np.random.default_rng(0).standard_normal((50, 512)))
    rows, scores = Nearest(vectors, NO_HOLES).search(vectors, 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(50))
    assert scores.max() <= 1
    assert scores.min() > 0.999_99


def test_what_cannot_be_searched_for_is_refused():
    nearest = Nearest(np.eye(4, dtype=np.float32), NO_HOLES)
    with pytest.raises(ShapeError, match="vectors: got"):
        nearest.search(np.ones((1, 5), np.float32), 1)
    with pytest.raises(DataError, match="zero"):
        nearest.search(np.zeros((1, 4), np.float32), 1)
    with pytest.raises(ConfigError, match="k: got 0"):
        nearest.search(np.ones((1, 4), np.float32), 0)
