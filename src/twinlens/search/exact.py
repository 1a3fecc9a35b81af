"""Exact search: float32 dot products of queries with rows of a file mapped into memory.

Chunks of rows pass through all queries at once, and each query keeps its best k so far: memory
does not grow with the number of rows. A product of matrices picks the candidates of a chunk; their
scores are then taken vector by vector. A score so depends on its two vectors alone, never on the
neighbours of a row or on the number of queries, and equal vectors have equal scores.
"""

from __future__ import annotations

import mmap
from collections.abc import Generator
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy.typing import NDArray

Best = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and their scores, the best first; of equal scores the lower row."""

_CHUNK_VALUES = 4 << 20
"""Scores of a chunk, by all queries: 16 MB."""

_CHUNK_ROWS = 8_192

_GATHERED_ROWS = 1_024

_WINDOW_BYTES = 64 << 20
"""Span of a large file that is read before its pages are given back."""

_RESIDENT_BYTES = 256 << 20
"""A smaller file may stay in the memory of the process."""

_MARGIN = 1e-5
"""More than a product of matrices differs from a product of two vectors, for unit vectors."""


def search_exact(
    vectors: Float32[np.ndarray, "row width"],
    queries: Float32[np.ndarray, "query width"],
    k: int,
    rows: Int64[np.ndarray, " allowed"] | None = None,
) -> list[Best]:
    """Find the best rows of every query.

    Args:
        vectors: Unit vectors, often mapped into memory.
        queries: Unit vectors.
        k: Rows of an answer, at least 1; all rows if there are fewer.
        rows: The rows to search, ascending; without, all.
    """
    best = [_Running(query, k) for query in queries]
    size = max(1, min(_CHUNK_ROWS, _CHUNK_VALUES // max(1, len(queries))))
    for start in range(0, len(vectors) if rows is None else len(rows), size):
        if rows is None:
            chunk = np.arange(start, min(start + size, len(vectors)))
        else:
            chunk = rows[start : start + size]
        span = int(chunk[-1] - chunk[0]) + 1
        # Products with the rows between cost less than a copy without them.
        if span <= 2 * len(chunk):
            block = vectors[chunk[0] : chunk[0] + span]
            scores = _products(queries, block)
            scores = scores if span == len(chunk) else scores[:, chunk - chunk[0]]
        else:
            scores = _products(queries, gather(vectors, chunk))
        floors = np.array([one.floor for one in best], np.float32)
        for number in np.flatnonzero(scores.max(axis=1) >= floors):
            best[number].add(vectors, chunk, scores[number])
        release_pages(vectors)
    return [(one.rows, one.scores) for one in best]


def row_scores(
    vectors: Float32[np.ndarray, "row width"],
    query: Float32[np.ndarray, " width"],
    rows: Int64[np.ndarray, " some"],
) -> Float32[np.ndarray, " some"]:
    """Scores of some rows, which are ascending; from -1 to 1."""
    scores = np.empty(len(rows), np.float32)
    for part in _windows(vectors, rows):
        np.vecdot(vectors[rows[part]], query, out=scores[part])
        release_pages(vectors)
    return np.clip(scores, -1, 1, out=scores)


def gather(
    vectors: Float32[np.ndarray, "row width"], rows: Int64[np.ndarray, " some"]
) -> Float32[np.ndarray, "some width"]:
    """Copy some rows, which are ascending."""
    copy = np.empty((len(rows), vectors.shape[1]), np.float32)
    for part in _windows(vectors, rows):
        # Clipping never happens: checking first would copy twice.
        np.take(vectors, rows[part], axis=0, out=copy[part], mode="clip")
        release_pages(vectors)
    return copy


def select_best(
    rows: Int64[np.ndarray, " row"], scores: Float32[np.ndarray, " row"], k: int
) -> Best:
    """Select the best k, in order."""
    if len(rows) > 4 * k:
        kept = scores >= np.partition(scores, -k)[-k]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def release_pages(values: Shaped[np.ndarray, "..."]) -> None:
    """Give the pages of a large mapped file back.

    They stay in the page cache, and count no longer as memory of the process. A page can be as
    large as 2 MB, so that a few hundred rows could hold on to a whole file.
    """
    base: Any = values
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and len(base) > _RESIDENT_BYTES:
        base.madvise(mmap.MADV_DONTNEED)


class _Running:
    """The best rows of a query among those that it has seen."""

    def __init__(self, query: Float32[np.ndarray, " width"], k: int) -> None:
        self._query, self._k = query, k
        self.rows = np.zeros(0, np.int64)
        self.scores = np.zeros(0, np.float32)
        self.floor = -np.inf
        """Lower scores are of no interest."""

    def add(
        self,
        vectors: Float32[np.ndarray, "row width"],
        rows: Int64[np.ndarray, " some"],
        scores: Float32[np.ndarray, " some"],
    ) -> None:
        """Look at rows with their scores, which may be off by the margin."""
        floor = self.floor
        if len(scores) > self._k:
            floor = max(floor, np.partition(scores, -self._k)[-self._k] - 2 * _MARGIN)
        found = rows[scores >= floor]
        self.rows, self.scores = select_best(
            np.concatenate([self.rows, found]),
            np.concatenate([self.scores, row_scores(vectors, self._query, found)]),
            self._k,
        )
        if len(self.rows) == self._k:
            self.floor = self.scores[-1] - _MARGIN


def _products(
    queries: Float32[np.ndarray, "query width"], block: Float32[np.ndarray, "row width"]
) -> Float32[np.ndarray, "query row"]:
    if len(queries) == 1:  # bound by memory; BLAS would leave a thread spinning for a while
        return np.vecdot(block, queries[0])[None]
    return queries @ block.T


def _windows(
    vectors: Float32[np.ndarray, "row width"], rows: Int64[np.ndarray, " some"]
) -> Generator[slice]:
    """Parts of ascending rows that lie near one another in the file."""
    window = rows // (_WINDOW_BYTES // (vectors.shape[1] * 4))
    starts = np.flatnonzero(np.diff(window, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        for first in range(start, stop, _GATHERED_ROWS):
            yield slice(first, min(first + _GATHERED_ROWS, stop))
