"""Samples: images with their captions, label and place, and a data set as a list of them."""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Generic, Protocol, TypeVar, overload

from twinlens.data.left_out import LeftOut, joined
from twinlens.errors import DataError, os_errors_as
from twinlens.images.decode import read_image_file
from twinlens.types import Split

_Entry = TypeVar("_Entry")
_Value = TypeVar("_Value")


class ImageSource(Protocol):
    """The place of an image that is no file of its own: in a tar, a table or an array, at a URL.

    Its `str` names the place in messages.
    """

    @property
    def mark(self) -> object:
        """The image's identity, known without reading it, as plain Python values."""
        ...

    def read_image(self) -> bytes:
        """The encoded image.

        Raises:
            DataError: It is gone or cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image with what is said of it.

    Attributes:
        key: Its name, once in a data set (in each part of one joined with `::`).
        source: Where the image lies.
        captions: Sentences that describe it; training draws from them.
        label: Its class, where it has exactly one.
        labels: All its classes: of a data set with several labels an image, any number of them.
        concept: What it depicts; images of equal concepts are no negatives of each other.
        metadata: Whatever else the data set says.
        passed_over: What of it is not used because it is of another kind, a reason each.
    """

    key: str
    source: Path | ImageSource
    captions: tuple[str, ...] = ()
    label: str | None = None
    labels: tuple[str, ...] = ()
    concept: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    passed_over: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.label is not None and self.label not in self.labels:
            object.__setattr__(self, "labels", (self.label,))

    def image_bytes(self) -> bytes:
        """The encoded image.

        Raises:
            DataError: It is gone, or larger than any image should be.
        """
        if isinstance(self.source, Path):
            return read_image_file(self.source)
        return self.source.read_image()

    @property
    def where(self) -> str:
        """The file that holds the image, for messages."""
        return str(self.source)


class Lazy(Generic[_Value]):
    """A field that holds a value, or a function that finds it once it is asked for."""

    def __init__(self, default: _Value) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_{name}"

    def __get__(self, owner: object, kind: type | None = None) -> _Value:
        if owner is None:
            return self._default
        value: Any = vars(owner)[self._slot]
        if callable(value):
            vars(owner)[self._slot] = value = value()
        return value

    def __set__(self, owner: object, value: _Value | Callable[[], _Value]) -> None:
        vars(owner)[self._slot] = value


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
        classnames: All labels in order; none where images have no labels. Where they are in
            tars, the first time they are asked for they are read, each sample's.
        spoken: Names of those classes whose label is another, as where two have one name.
        multi_label: Whether an image has any number of labels; found as `classnames` are.
        templates: Prompts with `{}` or `{c}` that came with the data set, read when asked for.
        left_out: Files and tar samples that are not used, by reason.
        without_caption: Images without a caption, as far as the names of files tell.
        split: The split of a larger data set that it is, where its folders or files name it.
        shard_sizes: How many samples lie together, one number a tar; None is all together.
        sources: The parts, in order, where they have weights; else none.
    """

    name: str
    samples: Sequence[Sample]
    classnames: Lazy[tuple[str, ...]] = Lazy(())
    spoken: Mapping[str, str] = field(default_factory=dict[str, str])
    multi_label: Lazy[bool] = Lazy(False)
    templates: Lazy[tuple[str, ...]] = Lazy(())
    left_out: LeftOut = field(default_factory=LeftOut)
    without_caption: LeftOut = field(default_factory=LeftOut)
    split: Split | None = None
    shard_sizes: Sequence[int] | None = None
    sources: tuple[Source, ...] = ()

    def all_left_out(self, *, needs_captions: bool) -> LeftOut:
        """Everything that is left out as far as is known before images are read.

        Images without a caption are left out where captions are needed.
        """
        return joined([self.left_out, *([self.without_caption] if needs_captions else [])])


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
        """Return what is cheap to know of a sample, without making it."""
        return self._mark(self._entries[index])

    def marks(self) -> Iterator[object]:
        """Yield the marks of all samples; less than one value a sample may say it."""
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
    """Yield the marks of samples, as plain Python values: what is cheap to know of them."""
    if isinstance(samples, LazySamples):
        yield from samples.marks()
    else:
        yield from (mark(samples, index) for index in range(len(samples)))


def mark(samples: Sequence[Sample], index: int) -> object:
    """Return the mark of one sample, as plain Python values: what is cheap to know of it."""
    if isinstance(samples, LazySamples):
        return samples.mark(index)
    sample = samples[index]
    return _place(sample), sample.captions, sample.concept


def _place(sample: Sample) -> object:
    if not isinstance(sample.source, Path):
        return sample.source.mark
    key = PurePath(sample.key)
    return key.name if key.is_absolute() else sample.key, file_size(sample.source)


def only(labels: Sequence[str]) -> str | None:
    """The label of an image that has exactly one.

    Example:
        >>> only(["cat"]), only(["cat", "dog"]), only([])
        ('cat', None, None)
    """
    return labels[0] if len(labels) == 1 else None


def union(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All that the lists have, each once, in order of appearance."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(lists)))


def file_size(path: Path) -> int:
    """The size of a file in bytes.

    Raises:
        DataError: It is gone.
    """
    with os_errors_as(DataError, path, "cannot be read"):
        return path.stat().st_size


def fingerprint(samples: Sequence[Sample]) -> str:
    """Sixteen hexadecimal digits: others for other samples, or for the same in another order.

    What is cheap to know counts: in tars the place and size of each sample's members; in folders
    and tables the size of each file, and the words that a table holds; with the files' names, but
    not the directories that all of them are in, so that data moved elsewhere stays what it is.
    Nothing is decoded: an image replaced by one of the same size is not noticed.

    Raises:
        DataError: A file is gone.
    """
    digest = hashlib.blake2b(digest_size=8)
    for one in marks(samples):
        # `ascii`, as what `repr` escapes depends on the version of Unicode.
        digest.update(ascii(one).encode() + b"\n")
    return digest.hexdigest()
