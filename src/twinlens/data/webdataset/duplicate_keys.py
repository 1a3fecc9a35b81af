"""Keys that are in several tars, found among the indexes' hashes without a set of all keys."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.data.left_out import EXAMPLES, LeftOut
from twinlens.data.webdataset.indexes import Shard
from twinlens.data.webdataset.shard_index import keys_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1 << 26
"""Hashes looked at together: half a GB."""


REPEATED = "key that is in several tars, told apart by the tar"


def repeated_keys(shards: Sequence[Shard]) -> LeftOut:
    """Keys that tars have in common, as where each counts its samples from nought."""
    found = LeftOut()
    if not shards:
        return found
    passes = -(-sum(shard.rows for shard in shards) // _AT_ONCE)
    edges = [(number << 64) // max(passes, 1) for number in range(1, passes)]
    for low, high in itertools.pairwise((0, *edges, 1 << 64)):
        for hashed in _repeated(shards, low, high):
            if found.total < EXAMPLES:  # where the first few are right, few others are wrong
                if (named := _named(shards, hashed)) is not None:
                    found.add(REPEATED, named)
            else:
                found.add(REPEATED, "")
    return found


def _repeated(shards: Sequence[Shard], low: int, high: int) -> list[int]:
    """Hashes from `low` to `high` (not included) that are there more than once."""
    found = np.concatenate([_between(shard.index().hashes, low, high) for shard in shards])
    found.sort()
    return np.unique(found[1:][found[1:] == found[:-1]]).tolist()


def _between(hashes: NDArray[np.uint64], low: int, high: int) -> NDArray[np.uint64]:
    start = np.searchsorted(hashes, np.uint64(low))
    end = len(hashes) if high == 1 << 64 else np.searchsorted(hashes, np.uint64(high))
    return np.array(hashes[start:end])


def _named(shards: Sequence[Shard], hashed: int) -> str | None:
    """The first two places of a key with the hash; None where two keys have it, each once."""
    places: dict[str, list[str]] = {}
    for shard in shards:
        for key in keys_with(shard.index(), hashed):
            places.setdefault(key, []).append(f"{shard.place}: {key}")
    several = (found for found in places.values() if len(found) > 1)
    return next((" and ".join(found[:2]) for found in several), None)
