"""Search by codes: exact scores of the rows that codes cannot rule out.

A query becomes bits too, so that its product with a code is a weighted count of the bits in which
they differ. How far such a distance is from the score it stands for, the query learns from a sample
of vectors that the codes keep: a line through scores and distances, and the spread around it. A row
is ruled out when its distance lies some spreads beyond that of the k-th best score known so far.

Two stages: the high bits of all rows by two bits of the query, then both bits of the rows that are
left by four. What is left after that is scored exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt64
from numpy.typing import NDArray

from twinlens.search.bit_blocks import BLOCK_ROWS, BitBlocks, weighted_counts
from twinlens.search.codes import Codes, pack_bits
from twinlens.search.exact import Best, row_scores, select_best

_STEPS = {2: 0.9957, 4: 0.3352}
"""The best step between the levels of normal values, by bits."""

_SPREADS = (3.25, 4.0)
"""Errors that are accepted in each stage: normal ones are beyond in 6 and in 0.3 of 10,000 rows.

With a filter one more is accepted, for it promises the best of the rows that pass.
"""

_LARGE_ROWS, _LARGE_SPREADS = 262_144, (2.75, 3.5)
"""In a large collection half as many rows are left for the second stage: beyond are 30 and 2."""

_PROBES = 512
"""Rows that tell what the k-th best score is at least."""


def search_codes(
    codes: Codes,
    vectors: Float32[np.ndarray, "row width"],
    query: Float32[np.ndarray, " width"],
    k: int,
    rows: Int64[np.ndarray, " allowed"] | None = None,
    *,
    wider: bool = False,
) -> Best:
    """Find the best rows of a query among those that have codes.

    Args:
        codes: Of the first rows.
        vectors: Unit vectors of at least as many rows.
        query: A unit vector.
        k: Rows of the answer, at least 1; all rows if there are fewer.
        rows: The rows to search, ascending, each with a code; without, all that have one.
        wider: Rule out fewer rows.
    """
    highs, both = _prepare(codes, query)
    accepted = _SPREADS if len(codes.high) < _LARGE_ROWS else _LARGE_SPREADS
    spreads = [some + wider for some in accepted]
    if rows is not None and 2 * len(rows) < len(codes.high):
        distances = highs.of_rows(rows)
    else:
        distances = highs.of_all()
        distances = distances if rows is None else distances[rows]
    places = _best_of_blocks(distances, max(_PROBES, 8 * k))
    probes = places if rows is None else rows[places]
    floor = _kth_best(row_scores(vectors, query, probes), k)
    places = _within(distances, highs.limit(floor, spreads[0]), places)
    near = places if rows is None else rows[places]
    distances = both.of_rows(near)
    places = np.sort(np.argpartition(distances, min(4 * k, len(near)) - 1)[: 4 * k])
    floor = max(floor, _kth_best(row_scores(vectors, query, near[places]), k))
    near = near[_within(distances, both.limit(floor, spreads[1]), places)]
    return select_best(near, row_scores(vectors, query, near), k)


def _prepare(codes: Codes, query: Float32[np.ndarray, " width"]) -> tuple[_Distances, _Distances]:
    """The two stages for a query."""
    of = codes.transform
    scores = np.vecdot(of.sample, query) + of.mean @ query
    highs = _bit_planes(np.vecdot(of.high_map, query), 2)
    both = _bit_planes(np.vecdot(of.both_map, query), 4)
    low, high = BitBlocks.of_rows(of.sample_low), BitBlocks.of_rows(of.sample_high)
    return (
        _Distances(highs, [codes.high], [high], scores, float(of.high_error)),
        _Distances(both, [codes.low, codes.high], [low, high], scores, float(of.both_error)),
    )


class _Distances:
    """Weighted counts of the bits in which codes differ from a query."""

    def __init__(
        self,
        planes: UInt64[np.ndarray, "bit word"],
        codes: Sequence[BitBlocks],
        sample: Sequence[BitBlocks],
        scores: Float32[np.ndarray, " sample"],
        error: float,
    ) -> None:
        """Prepare a query.

        Args:
            planes: Bits of the query, the lowest first.
            codes: Bits of the rows, the lowest first.
            sample: Bits of the sample.
            scores: Of the sample.
            error: Of a distance near the query, as a share of the score.
        """
        self._planes, self._codes, self._error = planes, codes, error
        distances = weighted_counts(planes, [next(one.blocks()) for one in sample])
        self._middle = float(scores.mean()), float(distances.mean())
        apart = (scores - self._middle[0]).astype(np.float64)
        distances = distances - self._middle[1]
        self._slope = float(apart @ distances) / max(float(apart @ apart), 1e-30)
        self._spread = float((distances - self._slope * apart).std())

    def limit(self, score: float, spreads: float) -> float:
        """The distance beyond which rows do not have such a score.

        Args:
            score: A score, or minus infinity.
            spreads: Errors that are accepted, in standard deviations.
        """
        if not np.isfinite(score):
            return np.inf
        apart = self._slope * (score - self._middle[0])
        return (
            self._middle[1] + apart + spreads * float(np.hypot(self._spread, self._error * apart))
        )

    def of_all(self) -> NDArray[Any]:
        """Distances of all rows."""
        blocks = zip(*(one.blocks() for one in self._codes), strict=True)
        return np.concatenate([weighted_counts(self._planes, one) for one in blocks])

    def of_rows(self, rows: Int64[np.ndarray, " some"]) -> NDArray[Any]:
        """Distances of some rows."""
        parts: list[NDArray[Any]] = []
        for start in range(0, len(rows), BLOCK_ROWS):
            some = rows[start : start + BLOCK_ROWS]
            parts.append(weighted_counts(self._planes, [one.of(some) for one in self._codes]))
        return np.concatenate(parts) if parts else np.zeros(0, np.uint32)


def _bit_planes(
    weights: Float32[np.ndarray, " direction"], bits: int
) -> UInt64[np.ndarray, "bit word"]:
    """Weights as odd numbers of so many bits, a row for each bit, the lowest first."""
    step = _STEPS[bits] * float(np.sqrt(np.mean(weights * weights))) or 1.0
    half = 1 << (bits - 1)
    levels = np.clip(np.floor(weights / step) + half, 0, 2 * half - 1).astype(np.uint8)
    return np.stack([pack_bits((levels >> bit & 1) == 1) for bit in range(bits)])


def _best_of_blocks(
    distances: Shaped[np.ndarray, " row"], count: int
) -> Int64[np.ndarray, " block"]:
    """The place of the least distance in each of some blocks; ascending."""
    size = max(1, len(distances) // count)
    blocks = distances[: len(distances) // size * size].reshape(-1, size)
    return np.arange(len(blocks)) * size + blocks.argmin(axis=1)


def _within(
    distances: Shaped[np.ndarray, " row"], limit: float, always: Int64[np.ndarray, " some"]
) -> NDArray[np.int64]:
    """Places of distances up to a limit, and some others; ascending."""
    passed = distances <= limit
    passed[always] = True
    return np.flatnonzero(passed)


def _kth_best(scores: Float32[np.ndarray, " row"], k: int) -> float:
    return float(np.partition(scores, -k)[-k]) if len(scores) >= k else -np.inf
