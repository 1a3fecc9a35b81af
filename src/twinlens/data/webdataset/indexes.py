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
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from twinlens.data.left_out import FURTHER, FURTHER_TEXT, NO_IMAGE, OTHER, LeftOut
from twinlens.data.prefetch import read_in_processes, read_in_threads
from twinlens.data.sources.remote import Place, describe
from twinlens.data.sources.sample_files import CAPTIONS, TEXTS, image_members, last_ending
from twinlens.data.webdataset.shard_index import ShardIndex, index_samples, map_index
from twinlens.data.webdataset.shards import ShardSample, read_index
from twinlens.errors import DataError
from twinlens.hardware import usable_cores
from twinlens.images.file_names import unreadable_format

KEPT_FROM = 64 << 20
"""Bytes of tars from which on their indexes are kept."""

_CONNECTIONS = 16
"""Tars asked for at once: storage takes a while to answer, in which nothing is to do."""

_BY_PROCESSES_FROM = 256 << 20
"""Bytes of tars to index from which on processes do it: a second's work for one."""

Progress = Callable[[int, int], None]
"""Told (tars indexed, tars to index), with 0 first; those that had an index do not count."""


_Ins = ParamSpec("_Ins")
_Out = TypeVar("_Out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A tar that is open as a part of a data set.

    Attributes:
        place: The tar.
        size: In bytes,
        stamp: and another one when the tar is changed.
        rows: How many samples with images it has.
        left_out: What else is in it, by reason.
        without_caption: Samples without any file that may hold a caption.
        digest: What tells its samples from those of others.
        has_labels: Whether any sample has a json, cls or npy member.
        held: The index, where it is not kept in a file.
    """

    place: Place
    size: int
    stamp: str
    rows: int
    left_out: LeftOut
    without_caption: LeftOut
    digest: str
    has_labels: bool
    held: ShardIndex | None

    def index(self) -> ShardIndex:
        """The index, mapped: few stay so at a time.

        Raises:
            DataError: The tar is not what it was.
        """
        return self.held or _mapped(self.place, self.size, self.stamp)


class Opened(NamedTuple):
    """What became of one tar.

    Attributes:
        number: Its place in the list.
        shard: The tar, or why it cannot be used.
        built: Whether its index had to be made.
    """

    number: int
    shard: Shard | DataError
    built: bool


def open_shards(places: Sequence[Place], *, progress: Progress | None = None) -> list[Shard]:
    """Open tars by their indexes, which are built where there are none.

    Raises:
        DataError: A tar is missing, cut short or not a tar.
        MissingExtraError: It is remote and fsspec is not installed.
    """
    shards: dict[int, Shard] = {}
    with closing(each_shard(places, progress=progress)) as opened:
        for number, shard, _ in opened:
            if isinstance(shard, DataError):
                raise shard
            shards[number] = shard
    return [shards[number] for number in range(len(places))]


def each_shard(
    places: Sequence[Place],
    *,
    keep: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Generator[Opened]:
    """Open tars: first those that have an index or cannot be reached, then those that get one.

    Args:
        places: The tars.
        keep: Keep the indexes of small sets, too.
        workers: Processes that build indexes, threads where tars are remote; by default one a core
            and at most 16, or 16 threads.
        progress: Told of the indexes that are built.

    Raises:
        MissingExtraError: A tar is remote and fsspec is not installed.
    """
    remote = any(isinstance(place, str) for place in places)
    pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="index")
    try:
        known = list(pool.map(_or_error(_describe), places))
        found = list(pool.map(_known_shard, places, known))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    sizes = {n: it[0] for n, it in enumerate(known) if not isinstance(it, DataError)}
    keep = keep or remote or sum(sizes.values()) >= KEPT_FROM
    missing = [number for number, shard in enumerate(found) if shard is None]
    yield from (Opened(n, shard, False) for n, shard in enumerate(found) if shard is not None)

    def build(number: int) -> Opened:
        return Opened(number, _or_error(_built_shard)(places[number], keep), True)

    workers = workers or (_CONNECTIONS if remote else min(_CONNECTIONS, usable_cores()))
    large = sum(sizes[number] for number in missing) >= _BY_PROCESSES_FROM
    if large and not remote and len(missing) > 1 and workers > 1:
        built = read_in_processes(build, missing, workers=min(workers, len(missing)), pin=False)
    else:
        built = read_in_threads(build, missing, threads=workers if remote else 1)
    if progress is not None and missing:
        progress(0, len(missing))
    for done, opened in enumerate(built, start=1):
        if progress is not None:
            progress(done, len(missing))
        yield opened


def _or_error(work: Callable[_Ins, _Out]) -> Callable[_Ins, _Out | DataError]:
    """The work, with its error for an answer: the other tars are to be opened all the same."""

    def attempted(*args: _Ins.args, **options: _Ins.kwargs) -> _Out | DataError:
        try:
            return work(*args, **options)
        except DataError as error:
            return error

    return attempted


def _known_shard(place: Place, known: tuple[int, str] | DataError) -> Shard | DataError | None:
    """The tar by an index that is there."""
    if isinstance(known, DataError):
        return known
    index = _stored(place, *known)
    return None if index is None else _shard(place, index, held=False)


def _built_shard(place: Place, keep: bool) -> Shard:
    index = build_index(place)
    return _shard(place, index, held=not (keep and _keep(place, index)))


def _shard(place: Place, index: ShardIndex, *, held: bool) -> Shard:
    return Shard(
        place=place,
        size=index.size,
        stamp=index.stamp,
        rows=len(index),
        left_out=index.left_out,
        without_caption=index.without_caption,
        digest=index.digest,
        has_labels=bool({"json", "cls", "npy"} & set(map(last_ending, index.extensions))),
        held=index if held else None,
    )


def _stored(place: Place, size: int, stamp: str) -> ShardIndex | None:
    """The index of a tar from its file, where there is a whole one of the tar as it is."""
    for path in _index_paths(place):
        index = map_index(path)
        if index is not None and (index.size, index.stamp) == (size, stamp):
            return index
    return None


def _keep(place: Place, index: ShardIndex) -> bool:
    """Write the index; false where that is not possible: in a home that cannot be written."""
    path = _index_paths(place)[-1]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        index.save(path)
        return True
    return False


@lru_cache(maxsize=256)
def _mapped(place: Place, size: int, stamp: str) -> ShardIndex:
    """An index by its file, or built again where that is gone."""
    index = _stored(place, size, stamp)
    if index is None:
        index = build_index(place)
        _keep(place, index)
    if (index.size, index.stamp) != (size, stamp):
        raise DataError(f"{place}: got a tar that was changed, expected it as when it was opened")
    return index


def build_index(place: Place) -> ShardIndex:
    """Read a tar's headers.

    Raises:
        DataError: It is missing, cut short or not a tar.
    """
    size, stamp = _describe(place)
    left_out = LeftOut()
    samples = [one for one in read_index([place], left_out) if _has_image(one, left_out)]
    return index_samples(samples, size=size, stamp=stamp, left_out=left_out)


def _has_image(sample: ShardSample, left_out: LeftOut) -> bool:
    """Whether a sample has an image that can be read; what is left out of it is counted."""
    name = f"{sample.shard}: {sample.key}"
    images = image_members(sample.members)
    for ext in images[1:]:
        if ext.count(".") == images[0].count("."):  # a mask.png beside a jpg is no rival
            left_out.add(FURTHER, f"{name}.{ext}")
    for ending in CAPTIONS if images else ():
        used = sample.find(ending) or ""
        for ext in sample.members:
            rival = last_ending(ext) == ending and ext.count(".") == used.count(".")
            if rival and ext != used:
                left_out.add(FURTHER_TEXT, f"{name}.{ext}")
    if not images:
        reasons = (unreadable_format(f"x.{ext}") for ext in sample.members)
        unreadable = next(filter(None, reasons), None)
        texts = any(sample.find(ending) for ending in TEXTS)
        ext = next(iter(sample.members))
        left_out.add(unreadable or (NO_IMAGE if texts else OTHER), f"{name}.{ext}".rstrip("."))
    return bool(images)


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


def cache_folder() -> Path:
    """Where indexes are put."""
    return Path.home() / ".cache" / "twinlens" / "index"


def _index_paths(place: Place) -> list[Path]:
    """Where an index may lie; the last is where it is put."""
    name = place if isinstance(place, str) else str(place.resolve())
    hashed = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    cached = cache_folder() / f"{hashed}.index"
    if isinstance(place, str):
        return [cached]
    return [place.with_name(f"{place.name}.index"), cached]
