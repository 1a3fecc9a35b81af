"""The sample at a position of a run: a pure function of the seed and the data set.

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

SHUFFLE_WINDOW = 200_000
"""Samples shuffled among each other, at least; a shard more at most."""

MIXTURE_BLOCK = 1_000
"""Positions in which a mixture has exact shares."""

_WINDOW_SEED_KEY, _BLOCK_SEED_KEY, _SOURCE_SEED_KEY = 1, 2, 3
"""Purpose of a random number, as the last part of its seed: numpy takes [1] and [1, 0] as one."""


def training_sampler(dataset: Dataset, seed: int) -> EpochSampler | MixtureSampler:
    """The endless order of a run's samples, of a data set that has some.

    Raises:
        DataError: The share of a part is less than a position in a block.

    Example:
        >>> order = training_sampler(Dataset(name="three", samples=[None] * 3), seed=0)
        >>> epochs = range(3), range(3, 6)
        >>> [sorted(order.sample_index(position) for position in epoch) for epoch in epochs]
        [[0, 1, 2], [0, 1, 2]]
    """
    if dataset.sources:
        return MixtureSampler(
            [source.weight for source in dataset.sources],
            [source.shard_sizes for source in dataset.sources],
            seed,
        )
    return EpochSampler(dataset.shard_sizes or [len(dataset.samples)], (seed,))


class EpochSampler:
    """Epoch after epoch over the samples of shards, each in an order of its own.

    Args:
        shard_sizes: How many samples each shard has.
        seed_key: One number, or several.
        window: How many samples are shuffled among each other, at least.
    """

    def __init__(
        self, shard_sizes: Sequence[int], seed_key: tuple[int, ...], window: int = SHUFFLE_WINDOW
    ) -> None:
        self._sizes = np.array(shard_sizes, np.int64)
        self._seed_key = seed_key
        self._window = window
        self.size = int(self._sizes.sum())
        # A batch lies in one window or two; ranks and threads are close together.
        self._cached_windows = lru_cache(maxsize=4)(self._make_windows)
        self._cached_window_indices = lru_cache(maxsize=4)(self._make_window_indices)

    def sample_index(self, position: int) -> int:
        """The sample at a position, counted over all epochs."""
        epoch, place = divmod(position, self.size)
        if self.size <= self._window:
            return int(self._cached_window_indices(epoch, 0)[place])
        ends = self._cached_windows(epoch)[1]
        number = bisect_right(ends, place)
        return int(
            self._cached_window_indices(epoch, number)[place - (ends[number - 1] if number else 0)]
        )

    def _make_windows(self, epoch: int) -> tuple[list[list[int]], list[int]]:
        """The shards of each window, and the place in the epoch where each window ends."""
        groups: list[list[int]] = [[]]
        ends = [0]
        start = 0
        shards = np.random.default_rng([*self._seed_key, epoch]).permutation(len(self._sizes))
        for shard, size in zip(shards.tolist(), self._sizes[shards].tolist(), strict=True):
            if ends[-1] - start >= self._window:
                start = ends[-1]
                groups.append([])
                ends.append(start)
            groups[-1].append(shard)
            ends[-1] += size
        return groups, ends

    def _make_window_indices(self, epoch: int, number: int) -> NDArray[np.int64]:
        """The samples of a window in their order."""
        if self.size <= self._window:
            return np.random.default_rng([*self._seed_key, epoch]).permutation(self.size)
        shards = self._cached_windows(epoch)[0][number]
        starts = np.cumsum(self._sizes) - self._sizes
        samples = [np.arange(starts[shard], starts[shard] + self._sizes[shard]) for shard in shards]
        rng = np.random.default_rng([*self._seed_key, epoch, number, _WINDOW_SEED_KEY])
        return rng.permutation(np.concatenate(samples))


class MixtureSampler:
    """Several sources in blocks of exact shares, each with epochs and an order of its own.

    Raises:
        DataError: A share is less than one position in a block.
    """

    def __init__(
        self,
        weights: Sequence[float],
        shard_sizes: Sequence[Sequence[int]],
        seed: int,
        window: int = SHUFFLE_WINDOW,
    ) -> None:
        self._counts = block_counts(weights)
        if not all(self._counts):
            raise DataError(
                f"weights: got {', '.join(map(str, weights))}, expected each to be at least "
                f"1/{MIXTURE_BLOCK} of all"
            )
        self._sources = [
            EpochSampler(sizes, (seed, number, _SOURCE_SEED_KEY), window)
            for number, sizes in enumerate(shard_sizes)
        ]
        self._starts = [0, *np.cumsum([source.size for source in self._sources]).tolist()]
        self._seed = seed
        self._cached_block = lru_cache(maxsize=4)(self._make_block)

    def sample_index(self, position: int) -> int:
        """The sample at a position, counted over the sources one after the other."""
        number, place = self.locate(position)
        return self._starts[number] + self._sources[number].sample_index(place)

    def locate(self, position: int) -> tuple[int, int]:
        """The source of a position, and the position in that source's own order."""
        block, place = divmod(position, MIXTURE_BLOCK)
        sources, ranks = self._cached_block(block)
        number = int(sources[place])
        return number, block * self._counts[number] + int(ranks[place])

    def _make_block(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The source of each position, and how many of that source come before it."""
        rng = np.random.default_rng([self._seed, block, _BLOCK_SEED_KEY])
        sources = rng.permutation(np.repeat(np.arange(len(self._counts)), self._counts))
        ranks = np.empty(MIXTURE_BLOCK, np.int64)
        for number, count in enumerate(self._counts):
            ranks[sources == number] = np.arange(count)
        return sources, ranks


def block_counts(weights: Sequence[float]) -> list[int]:
    """The number of a block's positions for each weight: exact shares, rounded to their sum.

    Example:
        >>> block_counts([1, 1, 1])
        [334, 333, 333]
    """
    exact = np.array(weights, np.float64) / sum(weights) * MIXTURE_BLOCK
    counts = np.floor(exact).astype(np.int64)
    # Largest remainders first, and the first of equal ones.
    most = np.argsort(counts - exact, kind="stable")[: MIXTURE_BLOCK - int(counts.sum())]
    counts[most] += 1
    return counts.tolist()
