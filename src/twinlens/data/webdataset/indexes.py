"""Finding, building and keeping the indexes of tars.

An index lies beside its tar as `00000.tar.index` or, where nobody put it there, in
`~/.cache/twinlens/index`. Tars of less than some MB in all are indexed anew each time instead:
that takes milliseconds. Several are indexed at once, by processes or, behind URLs, by threads, and
an index is kept as soon as it is there: what was stopped goes on from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeVar

from twinlens.data.left_out import FURTHER, FURTHER_TEXT, NO_IMAGE, OTHER, LeftOut
from twinlens.data.prefetch import read_in_threads
from twinlens.data.sources.remote import Place, describe
from twinlens.data.sources.sample_files import CAPTIONS, TEXTS, image_members, last_ending
from twinlens.data.webdataset.shard_index import ShardIndex, make_index, map_index
from twinlens.data.webdataset.shards import ShardSample, list_samples
from twinlens.errors import DataError
from twinlens.hardware import usable_cpu_count
from twinlens.images.file_names import unreadable_reason
from twinlens.types import ProgressCallback

MIN_CACHED_BYTES = 64 << 20
"""Bytes of tars from which on their indexes are kept."""

_MAX_CONNECTIONS = 16
"""Tars asked for at once: storage takes a while to answer, in which nothing is to do."""

_MIN_BYTES_FOR_PROCESSES = 256 << 20
"""Bytes of tars to index from which on processes do it: a second's work for one."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A tar that is open as a part of a data set.

    Attributes:
        place: The tar.
        size: In bytes,
        stamp: and another one when the tar is changed.
        num_samples: How many samples with images it has.
        left_out: What else is in it, by reason.
        without_caption: Samples without any file that may hold a caption.
        digest: What tells its samples from those of others.
        has_labels: Whether any sample has a json, cls or npy member.
        in_memory_index: The index, where it is not kept in a file.
    """

    place: Place
    size: int
    stamp: str
    num_samples: int
    left_out: LeftOut
    without_caption: LeftOut
    digest: str
    has_labels: bool
    in_memory_index: ShardIndex | None

    def load_index(self) -> ShardIndex:
        """The index, mapped: few stay so at a time.

        Raises:
            DataError: The tar is not what it was.
        """
        return self.in_memory_index or _load_or_build_index(self.place, self.size, self.stamp)


class ShardResult(NamedTuple):
    """The outcome of opening one tar.

    Attributes:
        position: Its place in the list.
        shard: The tar, or why it cannot be used.
        was_built: Whether its index had to be made.
    """

    position: int
    shard: Shard | DataError
    was_built: bool


def open_shards(
    places: Sequence[Place], *, progress: ProgressCallback | None = None
) -> list[Shard]:
    """Open tars by their indexes, which are built where there are none.

    Raises:
        DataError: A tar is missing, cut short or not a tar.
        MissingExtraError: It is remote and fsspec is not installed.
    """
    shards: dict[int, Shard] = {}
    with closing(iter_shards(places, progress=progress)) as opened:
        for number, shard, _ in opened:
            if isinstance(shard, DataError):
                raise shard
            shards[number] = shard
    return [shards[number] for number in range(len(places))]


def iter_shards(
    places: Sequence[Place],
    *,
    save_indexes: bool = False,
    workers: int | None = None,
    progress: ProgressCallback | None = None,
) -> Generator[ShardResult]:
    """Open tars: first those that have an index or cannot be reached, then those that get one.

    Args:
        places: The tars.
        save_indexes: Keep the indexes of small sets, too.
        workers: Processes that build indexes, threads where tars are remote; by default one a core
            and at most 16, or 16 threads.
        progress: Told (tars indexed, tars to index), with 0 first; those that had an index do not
            count.

    Raises:
        MissingExtraError: A tar is remote and fsspec is not installed.
    """
    remote = any(isinstance(place, str) for place in places)
    pool = ThreadPoolExecutor(_MAX_CONNECTIONS, thread_name_prefix="index")
    try:
        known = list(pool.map(partial(_attempt, _size_and_stamp), places))
        found = list(pool.map(_open_indexed, places, known))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    sizes = {n: it[0] for n, it in enumerate(known) if not isinstance(it, DataError)}
    save_indexes = save_indexes or remote or sum(sizes.values()) >= MIN_CACHED_BYTES
    missing = [number for number, shard in enumerate(found) if shard is None]
    yield from (ShardResult(n, shard, False) for n, shard in enumerate(found) if shard is not None)

    def build(number: int) -> ShardResult:
        open_tar = partial(_open_with_new_index, save=save_indexes)
        return ShardResult(number, _attempt(open_tar, places[number]), True)

    workers = workers or (_MAX_CONNECTIONS if remote else min(_MAX_CONNECTIONS, usable_cpu_count()))
    large = sum(sizes[number] for number in missing) >= _MIN_BYTES_FOR_PROCESSES
    if large and not remote and len(missing) > 1 and workers > 1 and find_spec("torch"):
        from twinlens.data.workers import read_in_processes  # noqa: PLC0415  by torch's loader

        built = read_in_processes(
            build, missing, workers=min(workers, len(missing)), pin_memory=False
        )
    else:
        built = read_in_threads(build, missing, threads=workers if remote else 1)
    if progress is not None and missing:
        progress(0, len(missing))
    for done, opened in enumerate(built, start=1):
        if progress is not None:
            progress(done, len(missing))
        yield opened


def _attempt(work: Callable[[Place], _Result], place: Place) -> _Result | DataError:
    """The work's result, or its error: the other tars are to be opened all the same."""
    try:
        return work(place)
    except DataError as error:
        return error


def _open_indexed(place: Place, identity: tuple[int, str] | DataError) -> Shard | DataError | None:
    """The tar by an index that is there."""
    if isinstance(identity, DataError):
        return identity
    index = _load_index(place, *identity)
    return None if index is None else _make_shard(place, index, in_memory=False)


def _open_with_new_index(place: Place, save: bool) -> Shard:
    index = build_index(place)
    return _make_shard(place, index, in_memory=not (save and _save_index(place, index)))


def _make_shard(place: Place, index: ShardIndex, *, in_memory: bool) -> Shard:
    return Shard(
        place=place,
        size=index.size,
        stamp=index.stamp,
        num_samples=len(index),
        left_out=index.left_out,
        without_caption=index.without_caption,
        digest=index.digest,
        has_labels=bool({"json", "cls", "npy"} & set(map(last_ending, index.extensions))),
        in_memory_index=index if in_memory else None,
    )


def _load_index(place: Place, size: int, stamp: str) -> ShardIndex | None:
    """The index of a tar from its file, where there is a whole one of the tar as it is."""
    for path in _index_paths(place):
        index = map_index(path)
        if index is not None and (index.size, index.stamp) == (size, stamp):
            return index
    return None


def _save_index(place: Place, index: ShardIndex) -> bool:
    """Write the index; false where that is not possible: in a home that cannot be written."""
    path = _index_paths(place)[-1]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        index.save(path)
        return True
    return False


@lru_cache(maxsize=256)
def _load_or_build_index(place: Place, size: int, stamp: str) -> ShardIndex:
    """An index by its file, or built again where that is gone."""
    index = _load_index(place, size, stamp)
    if index is None:
        index = build_index(place)
        _save_index(place, index)
    if (index.size, index.stamp) != (size, stamp):
        raise DataError(f"{place}: got a tar that was changed, expected it as when it was opened")
    return index


def build_index(place: Place) -> ShardIndex:
    """Read a tar's headers.

    Raises:
        DataError: It is missing, cut short or not a tar.
    """
    size, stamp = _size_and_stamp(place)
    left_out = LeftOut()
    samples = [one for one in list_samples(place, left_out) if _has_image(one, left_out)]
    return make_index(samples, size=size, stamp=stamp, left_out=left_out)


def _has_image(sample: ShardSample, left_out: LeftOut) -> bool:
    """True if a sample has an image that can be read; what is left out of it is counted."""
    name = f"{sample.shard}: {sample.key}"
    images = image_members(sample.members)
    for ext in images[1:]:
        if ext.count(".") == images[0].count("."):  # a mask.png beside a jpg is no rival
            left_out.add(FURTHER, f"{name}.{ext}")
    for ending in CAPTIONS if images else ():
        used = sample.find_extension(ending) or ""
        for ext in sample.members:
            rival = last_ending(ext) == ending and ext.count(".") == used.count(".")
            if rival and ext != used:
                left_out.add(FURTHER_TEXT, f"{name}.{ext}")
    if not images:
        reasons = (unreadable_reason(f"x.{ext}") for ext in sample.members)
        unreadable = next(filter(None, reasons), None)
        texts = any(sample.find_extension(ending) for ending in TEXTS)
        ext = next(iter(sample.members))
        left_out.add(unreadable or (NO_IMAGE if texts else OTHER), f"{name}.{ext}".rstrip("."))
    return bool(images)


def _size_and_stamp(place: Place) -> tuple[int, str]:
    if isinstance(place, str):
        return describe(place)
    try:
        status = place.stat()
    except FileNotFoundError as error:
        raise DataError(f"{place}: no such shard") from error
    except OSError as error:
        raise DataError(f"{place}: cannot be read: {error.strerror or error}") from error
    return status.st_size, str(status.st_mtime_ns)


def index_cache_directory() -> Path:
    """The directory of indexes that cannot lie beside their tars."""
    return Path.home() / ".cache" / "twinlens" / "index"


def _index_paths(place: Place) -> list[Path]:
    """The paths at which an index may lie; the last is the one it is written to."""
    name = place if isinstance(place, str) else str(place.resolve())
    hashed = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    cached = index_cache_directory() / f"{hashed}.index"
    if isinstance(place, str):
        return [cached]
    return [place.with_name(f"{place.name}.index"), cached]
