"""Which sample stands at a position of a run: a pure function of the seed and the data set.

Nothing here has a state: any position is found by itself, whoever asks, so a run goes on anywhere
with any number of processes. An epoch visits each sample once. Its order is shuffled at two levels,
shards first and then samples within a window of shards that follow each other, so that reading goes
through few tars at a time. A mixture is made of blocks in which each source has its exact share.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from twinlens.data.samples import Dataset
from twinlens.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 200_000
"""Samples shuffled among each other, at least; a shard more at most."""

BLOCK = 1_000
"""Positions in which a mixture has exact shares."""

_WINDOW_DRAW, _BLOCK_DRAW, _SOURCE_DRAW = 1, 2, 3
"""What a random number is for, as the last part of its seed: numpy takes [1] and [1, 0] as one."""


class SampleOrder:
    """The endless order of a run's samples.

    Raises:
        DataError: The data set is empty, or the share of a part is less than a position in a block.

    Example:
        >>> order = SampleOrder(Dataset(name="three", samples=[None] * 3), seed=0)
        >>> [sorted(order.at(position) for position in epoch) for epoch in (range(3), range(3, 6))]
        [[0, 1, 2], [0, 1, 2]]
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        size = len(dataset.samples)
        if not size:
            raise DataError(f"{dataset.name}: got no samples, expected at least one")
        self._order: EpochOrder | MixedOrder
        if dataset.sources:
            weights = [source.weight for source in dataset.sources]
            self._order = MixedOrder(
                weights, [source.shard_sizes for source in dataset.sources], seed
            )
        else:
            self._order = EpochOrder(dataset.shard_sizes or [size], (seed,))

    def at(self, position: int) -> int:
        """The index into the data set's samples at a position of the run."""
        return self._order.at(position)


class EpochOrder:
    """Epoch after epoch over the samples of shards, each in an order of its own.

    Args:
        shard_sizes: How many samples each shard has.
        seed: One number, or several.
        window: How many samples are shuffled among each other, at least.
    """

    def __init__(
        self, shard_sizes: Sequence[int], seed: tuple[int, ...], window: int = WINDOW
    ) -> None:
        self._sizes = np.array(shard_sizes, np.int64)
        self._seed = seed
        self._window = window
        self._arguments = (shard_sizes, seed, window)
        self.size = int(self._sizes.sum())
        # A batch lies in one window or two; ranks and threads are close together.
        self._plan = lru_cache(maxsize=4)(self._make_plan)
        self._indices = lru_cache(maxsize=4)(self._make_indices)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self._arguments  # caches do not travel

    def at(self, position: int) -> int:
        """The sample at a position, counted over all epochs."""
        epoch, place = divmod(position, self.size)
        if self.size <= self._window:
            return int(self._indices(epoch, 0)[place])
        ends = self._plan(epoch)[1]
        number = bisect_right(ends, place)
        return int(self._indices(epoch, number)[place - (ends[number - 1] if number else 0)])

    def windows(self, epoch: int) -> list[int]:
        """How many samples each window of an epoch has."""
        return np.diff(self._plan(epoch)[1], prepend=0).tolist()

    def _make_plan(self, epoch: int) -> tuple[list[list[int]], list[int]]:
        """The shards of each window, and the place in the epoch where each window ends."""
        groups: list[list[int]] = [[]]
        ends = [0]
        start = 0
        shards = np.random.default_rng([*self._seed, epoch]).permutation(len(self._sizes))
        for shard, size in zip(shards.tolist(), self._sizes[shards].tolist(), strict=True):
            if ends[-1] - start >= self._window:
                start = ends[-1]
                groups.append([])
                ends.append(start)
            groups[-1].append(shard)
            ends[-1] += size
        return groups, ends

    def _make_indices(self, epoch: int, number: int) -> NDArray[np.int64]:
        """The samples of a window in their order."""
        if self.size <= self._window:
            return np.random.default_rng([*self._seed, epoch]).permutation(self.size)
        shards = self._plan(epoch)[0][number]
        starts = np.cumsum(self._sizes) - self._sizes
        samples = [np.arange(starts[shard], starts[shard] + self._sizes[shard]) for shard in shards]
        rng = np.random.default_rng([*self._seed, epoch, number, _WINDOW_DRAW])
        return rng.permutation(np.concatenate(samples))


class MixedOrder:
    """Several sources in blocks of exact shares, each with epochs and an order of its own.

    Raises:
        DataError: A share is less than one position in a block.
    """

    def __init__(
        self,
        weights: Sequence[float],
        shard_sizes: Sequence[Sequence[int]],
        seed: int,
        window: int = WINDOW,
    ) -> None:
        self._counts = shares(weights)
        if not all(self._counts):
            raise DataError(
                f"weights: got {', '.join(map(str, weights))}, expected each to be at least "
                f"1/{BLOCK} of all"
            )
        self._sources = [
            EpochOrder(sizes, (seed, number, _SOURCE_DRAW), window)
            for number, sizes in enumerate(shard_sizes)
        ]
        self._starts = [0, *np.cumsum([source.size for source in self._sources]).tolist()]
        self._seed = seed
        self._arguments = (weights, shard_sizes, seed, window)
        self._block = lru_cache(maxsize=4)(self._make_block)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), self._arguments

    def at(self, position: int) -> int:
        """The sample at a position, counted over the sources one after the other."""
        number, place = self.find(position)
        return self._starts[number] + self._sources[number].at(place)

    def find(self, position: int) -> tuple[int, int]:
        """The source of a position, and the position in that source's own order."""
        block, place = divmod(position, BLOCK)
        sources, ranks = self._block(block)
        number = int(sources[place])
        return number, block * self._counts[number] + int(ranks[place])

    def _make_block(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The source of each position, and how many of that source come before it."""
        rng = np.random.default_rng([self._seed, block, _BLOCK_DRAW])
        sources = rng.permutation(np.repeat(np.arange(len(self._counts)), self._counts))
        ranks = np.empty(BLOCK, np.int64)
        for number, count in enumerate(self._counts):
            ranks[sources == number] = np.arange(count)
        return sources, ranks


def shares(weights: Sequence[float]) -> list[int]:
    """How many of a block's positions each weight gets: the exact shares, rounded to their sum.

    Example:
        >>> shares([1, 1, 1])
        [334, 333, 333]
    """
    exact = np.array(weights, np.float64) / sum(weights) * BLOCK
    counts = np.floor(exact).astype(np.int64)
    # Largest remainders first, and the first of equal ones.
    most = np.argsort(counts - exact, kind="stable")[: BLOCK - int(counts.sum())]
    counts[most] += 1
    return counts.tolist()
