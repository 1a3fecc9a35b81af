"""Keys that are in several tars, found among the indexes' hashes without a set of all keys."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.data.index_files import Shard
from twinlens.data.left_out import EXAMPLES, LeftOut
from twinlens.data.shard_index import keys_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1 << 26
"""Hashes looked at together: half a GB."""


REPEATED = "key that is in several tars, told apart by the tar"


def repeated_keys(shards: Sequence[Shard]) -> LeftOut:
    """Keys that tars have in common, as where each counts its samples from nought."""
    found = LeftOut()
    passes = -(-sum(shard.rows for shard in shards) // _AT_ONCE)
    edges = [(number << 64) // max(passes, 1) for number in range(1, passes)]
    for low, high in itertools.pairwise((0, *edges, 1 << 64)):
        hashes = _repeated(shards, low, high)
        # Two keys of one hash are too rare to look for; the few that are named are looked up.
        for hashed in hashes[:EXAMPLES]:
            found.add(REPEATED, _named(shards, hashed))
        if len(hashes) > EXAMPLES:
            found.add(REPEATED, "", count=len(hashes) - EXAMPLES)
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


def _named(shards: Sequence[Shard], hashed: int) -> str:
    places = [
        f"{shard.place}: {key}" for shard in shards for key in keys_with(shard.index(), hashed)
    ]
    return " and ".join(places[:2])
