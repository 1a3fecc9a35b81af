"""Samples: pictures with their captions, label and place, and a data set as a list of them."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeVar, overload

from twinlens.data.images import SUFFIXES, read_picture
from twinlens.data.remote import Place, read_small
from twinlens.data.shards import ShardSample
from twinlens.data.tables import TableImage
from twinlens.errors import DataError

CLASSNAMES_FILE = "classnames.txt"
"""Beside a data set: its classes' names, one a line."""

TEMPLATES_FILE = "zeroshot_classification_templates.txt"
"""Beside a data set: its prompts, one a line."""


_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A picture with what is said of it.

    Attributes:
        key: Its name, once in a data set (in each part of one joined with `::`).
        source: Where the picture lies.
        captions: Sentences that describe it; training draws from them.
        label: Its class.
        concept: What it depicts; pictures of equal concepts are no negatives of each other.
        metadata: Whatever else the data set says.
    """

    key: str
    source: Path | ShardSample | TableImage
    captions: tuple[str, ...] = ()
    label: str | None = None
    concept: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    def image_bytes(self) -> bytes:
        """The encoded picture.

        Raises:
            DataError: It is gone, or larger than any picture should be.
        """
        if isinstance(self.source, Path):
            return read_picture(self.source)
        if isinstance(self.source, TableImage):
            return self.source.read()
        return self.source.read(picture_member(self.source) or "jpg")

    @property
    def where(self) -> str:
        """The file that holds the picture, for messages."""
        if isinstance(self.source, ShardSample):
            return f"{self.source.shard}: sample {self.key}"
        return str(self.source)


class _Names:
    """A field that holds names, or a function that finds them once they are asked for."""

    def __get__(self, owner: object, kind: type | None = None) -> tuple[str, ...]:
        if owner is None:
            return ()  # the default
        names: Any = vars(owner)["_names"]
        if callable(names):
            vars(owner)["_names"] = names = names()
        return names

    def __set__(
        self, owner: object, names: tuple[str, ...] | Callable[[], tuple[str, ...]]
    ) -> None:
        vars(owner)["_names"] = names


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A part of a mixture.

    Attributes:
        weight: Its share of the pairs, in proportion to the other weights.
        shard_sizes: How many samples each of its shards has.
    """

    weight: float
    shard_sizes: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Samples with the names of their classes.

    Attributes:
        name: What to call the data set.
        samples: In the data set's order; tars and folders make each when it is asked for.
        classnames: All labels in order; none where pictures have no labels. Where they are in
            tars, the first time they are asked for they are read, each sample's.
        templates: Prompts with `{}` or `{c}` that came with the data set.
        ignored: How many files or tar samples are no pictures and were passed over.
        shard_sizes: How many samples lie together, one number a tar; None is all together.
        sources: The parts, in order, where they have weights; else none.
    """

    name: str
    samples: Sequence[Sample]
    classnames: _Names = _Names()
    templates: tuple[str, ...] = ()
    ignored: int = 0
    shard_sizes: Sequence[int] | None = None
    sources: tuple[Source, ...] = ()


class LazySamples(Sequence[Sample]):
    """Samples that are made of their entries anew each time they are asked for.

    `mark` gives what is cheap to know of an entry, in plain Python values (see `fingerprint`).
    """

    def __init__(
        self,
        entries: Sequence[_Entry],
        make: Callable[[_Entry], Sample],
        mark: Callable[[_Entry], object],
    ) -> None:
        # One function for all entries: a million closures would be a million objects to keep.
        self._entries = entries
        self._make: Callable[[Any], Sample] = make
        self._mark: Callable[[Any], object] = mark

    def mark(self, index: int) -> object:
        """What is cheap to know of a sample, without making it."""
        return self._mark(self._entries[index])

    def marks(self) -> Iterator[object]:
        """What is cheap to know of all samples; less than one value a sample may say it."""
        return (self.mark(index) for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> LazySamples: ...
    def __getitem__(self, index: int | slice) -> Sample | LazySamples:
        if isinstance(index, slice):
            return LazySamples(self._entries[index], self._make, self._mark)
        return self._make(self._entries[index])


class JoinedSamples(LazySamples):
    """The samples of several parts, one part after the other."""

    def __init__(self, parts: Sequence[Sequence[Sample]], weights: Sequence[float] = ()) -> None:
        self._ends = list(itertools.accumulate(map(len, parts)))
        super().__init__(range(self._ends[-1]), self._sample, self._mark_of)
        self._parts = parts
        self._weights = weights

    def marks(self) -> Iterator[object]:
        """Those of the parts."""
        for part, weight in itertools.zip_longest(self._parts, self._weights):
            yield len(part), weight
            yield from marks(part)

    def _find(self, index: int) -> tuple[Sequence[Sample], int]:
        place = bisect_right(self._ends, index)
        return self._parts[place], index - self._ends[place]  # counted from the part's end

    def _sample(self, index: int) -> Sample:
        samples, place = self._find(index)
        return samples[place]

    def _mark_of(self, index: int) -> object:
        return mark(*self._find(index))


def marks(samples: Sequence[Sample]) -> Iterator[object]:
    """What is cheap to know of samples, as plain Python values."""
    if isinstance(samples, LazySamples):
        yield from samples.marks()
    else:
        yield from (mark(samples, index) for index in range(len(samples)))


def mark(samples: Sequence[Sample], index: int) -> object:
    """What is cheap to know of one sample, as plain Python values."""
    if isinstance(samples, LazySamples):
        return samples.mark(index)
    sample = samples[index]
    return _place(sample), sample.captions, sample.concept


def _place(sample: Sample) -> object:
    source = sample.source
    if isinstance(source, ShardSample):
        return source.mark
    if isinstance(source, TableImage):
        return source.table.name, source.row, file_size(source.table)
    key = PurePath(sample.key)
    return key.name if key.is_absolute() else sample.key, file_size(source)


def picture_member(shard: ShardSample) -> str | None:
    """The extension of a tar sample's picture, or nothing where it has none.

    Raises:
        DataError: It has several.
    """
    found = [ext for ext in shard.members if f".{ext}" in SUFFIXES]
    if len(found) > 1:
        raise DataError(
            f"{shard.shard}: sample {shard.key}: got {len(found)} pictures, expected one"
        )
    return found[0] if found else None


def union(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All that the lists have, each once, in order of appearance."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(lists)))


def read_lines(path: Place) -> tuple[str, ...]:
    """A file's lines without blanks around them and without empty ones; none if it is missing."""
    data = read_small(path)
    return () if data is None else split_lines(data, str(path))


def file_size(path: Path) -> int:
    """The size of a file in bytes.

    Raises:
        DataError: It is gone.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def split_lines(data: bytes, where: str) -> tuple[str, ...]:
    """The lines of a text without blanks around them and without empty ones.

    Raises:
        DataError: It is not UTF-8; `where` names it.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: got bytes that are not UTF-8 ({error}), expected text"
        ) from error
    return tuple(line.strip() for line in lines if line.strip())


def checked_classnames(names: tuple[str, ...], where: Place) -> tuple[str, ...]:
    """The names themselves.

    Raises:
        DataError: One is there twice.
    """
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise DataError(f"{where}: got the class {name!r} {times} times, expected each name once")
    return names
