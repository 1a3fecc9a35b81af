"""Samples: pictures with their captions, label and place, and a data set as a list of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from twinlens.data.images import SUFFIXES, read_picture
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples with the names of their classes.

    Attributes:
        name: What to call the data set.
        samples: In the data set's order; tars and folders make each when it is asked for.
        classnames: All labels in order; none where pictures have no labels.
        templates: Prompts with `{}` or `{c}` that came with the data set.
        ignored: How many files or tar samples are no pictures and were passed over.
    """

    name: str
    samples: Sequence[Sample]
    classnames: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    ignored: int = 0


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


def read_lines(path: Path) -> tuple[str, ...]:
    """A file's lines without blanks around them and without empty ones; none if it is missing."""
    try:
        return split_lines(path.read_bytes(), str(path))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


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


def checked_classnames(names: tuple[str, ...], where: Path) -> tuple[str, ...]:
    """The names themselves.

    Raises:
        DataError: One is there twice.
    """
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise DataError(f"{where}: got the class {name!r} {times} times, expected each name once")
    return names
