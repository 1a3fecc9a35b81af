"""Keys that are in several tars, found among the indexes' hashes without a set of all keys."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.data.index_files import Shard
from twinlens.data.shard_index import keys_with
from twinlens.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1 << 26
"""Hashes looked at together: half a GB."""


def check_keys(shards: Sequence[Shard]) -> None:
    """Refuse tars that have a key in common.

    Raises:
        DataError: Two have; the message names both.
    """
    passes = -(-sum(shard.rows for shard in shards) // _AT_ONCE)
    edges = [(number << 64) // max(passes, 1) for number in range(1, passes)]
    for low, high in itertools.pairwise((0, *edges, 1 << 64)):
        for hashed in _repeated(shards, low, high):
            _check_hash(shards, hashed)


def _repeated(shards: Sequence[Shard], low: int, high: int) -> Iterator[int]:
    """Hashes from `low` to `high` (not included) that are there more than once."""
    found = np.concatenate([_between(shard.index().hashes, low, high) for shard in shards])
    found.sort()
    yield from np.unique(found[1:][found[1:] == found[:-1]]).tolist()


def _between(hashes: NDArray[np.uint64], low: int, high: int) -> NDArray[np.uint64]:
    start = np.searchsorted(hashes, np.uint64(low))
    end = len(hashes) if high == 1 << 64 else np.searchsorted(hashes, np.uint64(high))
    return np.array(hashes[start:end])


def _check_hash(shards: Sequence[Shard], hashed: int) -> None:
    """Two keys may have one hash; the keys themselves decide."""
    seen: dict[str, Shard] = {}
    for shard in shards:
        for key in keys_with(shard.index(), hashed):
            other = seen.setdefault(key, shard)
            if other is not shard:
                raise DataError(
                    f"{shard.place}: sample {key}: is in {other.place} too, expected each key once"
                )
