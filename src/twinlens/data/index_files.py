"""Finding, building and keeping the indexes of tars.

An index lies beside its tar as `00000.tar.index` or, where nobody put it there, in
`~/.cache/twinlens/index`. Tars of less than some MB in all are indexed anew each time instead:
that takes milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from twinlens.data.remote import Place, describe
from twinlens.data.samples import picture_member
from twinlens.data.shard_index import ShardIndex, index_samples, map_index
from twinlens.data.shards import read_index
from twinlens.errors import DataError

KEPT_FROM = 64 << 20
"""Bytes of tars from which on their indexes are kept."""

_CONNECTIONS = 16
"""Remote tars asked for at once: each answer takes a while in which nothing is to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A tar that is open as a part of a data set.

    Attributes:
        place: The tar.
        size: In bytes,
        stamp: and another one when the tar is changed.
        rows: How many samples with pictures it has.
        ignored: How many without.
        digest: What tells its samples from those of others.
        has_labels: Whether any sample has a json or cls member.
        held: The index, where it is not kept in a file.
    """

    place: Place
    size: int
    stamp: str
    rows: int
    ignored: int
    digest: str
    has_labels: bool
    held: ShardIndex | None

    def index(self) -> ShardIndex:
        """The index, mapped: few stay so at a time.

        Raises:
            DataError: The tar is not what it was.
        """
        return self.held or _mapped(self.place, self.size, self.stamp)


def open_shards(places: Sequence[Place]) -> list[Shard]:
    """Open tars by their indexes, which are built where there are none.

    Raises:
        DataError: A tar is missing, cut short, not a tar, or has a name twice.
        MissingExtraError: It is remote and fsspec is not installed.
    """
    remote = any(isinstance(place, str) for place in places)
    with ThreadPoolExecutor(_CONNECTIONS if remote else 1, thread_name_prefix="index") as pool:
        known = list(pool.map(_describe, places))
        keep = remote or sum(size for size, _ in known) >= KEPT_FROM
        return list(pool.map(partial(_open_shard, keep=keep), places, known))


def _open_shard(place: Place, known: tuple[int, str], *, keep: bool) -> Shard:
    size, stamp = known
    index, in_file = _find(place, size, stamp, keep=keep)
    return Shard(
        place=place,
        size=size,
        stamp=stamp,
        rows=len(index),
        ignored=index.ignored,
        digest=index.digest,
        has_labels=bool({"json", "cls"} & set(index.extensions)),
        held=None if in_file else index,
    )


def _find(place: Place, size: int, stamp: str, *, keep: bool) -> tuple[ShardIndex, bool]:
    """The index of a tar, and whether there is a file of it."""
    for path in _index_paths(place):
        index = map_index(path)
        if index is not None and (index.size, index.stamp) == (size, stamp):
            return index, True
    index = build_index(place)
    if keep:
        path = _index_paths(place)[-1]
        with suppress(OSError):  # a home that cannot be written: the index is held instead
            path.parent.mkdir(parents=True, exist_ok=True)
            index.save(path)
            return map_index(path) or index, True
    return index, False


@lru_cache(maxsize=256)
def _mapped(place: Place, size: int, stamp: str) -> ShardIndex:
    """An index by its file, or built again where that is gone."""
    index, _ = _find(place, size, stamp, keep=True)
    if (index.size, index.stamp) != (size, stamp):
        raise DataError(f"{place}: got a tar that was changed, expected it as when it was opened")
    return index


def build_index(place: Place) -> ShardIndex:
    """Read a tar's headers.

    Raises:
        DataError: It is missing, cut short, not a tar, or has a name twice.
    """
    size, stamp = _describe(place)
    samples = read_index([place])
    pictures = [sample for sample in samples if picture_member(sample)]
    return index_samples(pictures, size=size, stamp=stamp, ignored=len(samples) - len(pictures))


def _describe(place: Place) -> tuple[int, str]:
    if isinstance(place, str):
        return describe(place)
    try:
        status = place.stat()
    except FileNotFoundError as error:
        raise DataError(f"{place}: no such shard") from error
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    return status.st_size, str(status.st_mtime_ns)


def _index_paths(place: Place) -> list[Path]:
    """Where an index may lie; the last is where it is put."""
    name = place if isinstance(place, str) else str(place.resolve())
    hashed = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    cached = Path.home() / ".cache" / "twinlens" / "index" / f"{hashed}.index"
    if isinstance(place, str):
        return [cached]
    return [place.with_name(f"{place.name}.index"), cached]
