"""Keys that are in several tars, found among the indexes' hashes without a set of all keys."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.data.left_out import EXAMPLES, LeftOut
from twinlens.data.webdataset.indexes import Shard
from twinlens.data.webdataset.shard_index import keys_with_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HASHES_PER_PASS = 1 << 26
"""Hashes looked at together: half a GB."""


DUPLICATE_KEY = "key that is in several tars, told apart by the tar"


def find_duplicate_keys(shards: Sequence[Shard]) -> LeftOut:
    """Keys that tars have in common, as where each counts its samples from nought."""
    found = LeftOut()
    if not shards:
        return found
    passes = -(-sum(shard.num_samples for shard in shards) // _HASHES_PER_PASS)
    edges = [(number << 64) // max(passes, 1) for number in range(1, passes)]
    for low, high in itertools.pairwise((0, *edges, 1 << 64)):
        for hashed in _duplicate_hashes(shards, low, high):
            if found.total < EXAMPLES:  # where the first few are right, few others are wrong
                if (named := _describe_duplicate(shards, hashed)) is not None:
                    found.add(DUPLICATE_KEY, named)
            else:
                found.add(DUPLICATE_KEY, "")
    return found


def _duplicate_hashes(shards: Sequence[Shard], low: int, high: int) -> list[int]:
    """Hashes from `low` to `high` (not included) that are there more than once."""
    found = np.concatenate(
        [_hashes_in_range(shard.load_index().hashes, low, high) for shard in shards]
    )
    found.sort()
    return np.unique(found[1:][found[1:] == found[:-1]]).tolist()


def _hashes_in_range(hashes: NDArray[np.uint64], low: int, high: int) -> NDArray[np.uint64]:
    start = np.searchsorted(hashes, np.uint64(low))
    end = len(hashes) if high == 1 << 64 else np.searchsorted(hashes, np.uint64(high))
    return np.array(hashes[start:end])


def _describe_duplicate(shards: Sequence[Shard], key_hash: int) -> str | None:
    """The first two places of a key with the hash; None where two keys have it, each once."""
    places: dict[str, list[str]] = {}
    for shard in shards:
        for key in keys_with_hash(shard.load_index(), key_hash):
            places.setdefault(key, []).append(f"{shard.place}: {key}")
    several = (found for found in places.values() if len(found) > 1)
    return next((" and ".join(found[:2]) for found in several), None)
