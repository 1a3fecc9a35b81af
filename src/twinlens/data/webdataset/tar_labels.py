"""What the samples of tars say of their classes: by name or number, one or several."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from twinlens.data.sources.captions import another_kind
from twinlens.data.sources.metadata_files import TYPE_FILE, read_type
from twinlens.data.sources.remote import Place, beside, folder_of
from twinlens.data.webdataset.shards import ShardSample
from twinlens.errors import DataError

Read = Callable[[ShardSample, str], bytes | None]
"""Gives the bytes of a sample's member, or nothing where it has none."""

_Lines = TypeVar("_Lines")


class Told(NamedTuple):
    """What a sample says of its classes.

    Attributes:
        labels: Its classes.
        as_list: Whether they were told as a list: of any number, also one or none.
    """

    labels: tuple[str, ...] = ()
    as_list: bool = False


@dataclass(frozen=True)
class TarLabels:
    """The labels of tars that are one data set.

    Attributes:
        first: The first of the tars.
        numbered: The classes' labels by number; none where numbers are the labels.
    """

    first: Place
    numbered: tuple[str, ...] = ()

    @cached_property
    def multi_label(self) -> bool:
        """Whether `dataset_type.txt` says so; it is read when a sample leaves it open."""
        own, above = places_beside(self.first, TYPE_FILE)
        return "multilabel" in (read_type(own), read_type(above))

    def of(self, sample: ShardSample, data: dict[str, Any], read: Read, odd: list[str]) -> Told:
        """The labels of a sample: its JSON's, which are taken out, else its cls's or npy's.

        A JSON has `label`, or a list `labels`. A cls has a number, or several between commas or
        blanks. In what `dataset_type.txt` calls multilabel, an empty cls is of no class, and a npy
        has a zero or one for each class, as CLIP_benchmark writes it. -1 is no class: it stands
        for a label that is kept from us. What is of another kind is passed over: `odd` gets a
        reason.

        Raises:
            DataError: A number is out of range, or a cls or npy is none.
        """
        for name, take in (("label", _one_class), ("labels", _classes)):
            if name in data and (given := take(data[name])) is not None:
                labels = _each_once([self._named(sample, one) for one in given], odd)
                del data[name]
                return Told(labels, name == "labels")
            odd += [another_kind(name)] if name in data else []
        cls = read(sample, "cls")
        if cls is not None:
            return self._of_numbers(sample, cls.decode(errors="replace"), odd)
        hot = read(sample, "npy") if sample.find("npy") and self.multi_label else None
        if hot is None:
            return Told()
        return Told(self._hot(sample, hot), True)

    def _of_numbers(self, sample: ShardSample, text: str, odd: list[str]) -> Told:
        words = text.replace(",", " ").split()
        single = len(words) == 1 or not (words or self.multi_label)
        if single and words != ["-1"]:
            return Told((self._by_number(sample, text.strip()),))
        names = [self._by_number(sample, word) for word in words if word != "-1"]
        return Told(_each_once(names, odd), not single)

    def _named(self, sample: ShardSample, given: str | int) -> str:
        return given if isinstance(given, str) else self._by_number(sample, str(given))

    def _by_number(self, sample: ShardSample, text: str) -> str:
        names = self.numbered
        if not text.isdecimal() or (names and int(text) >= len(names)):
            expected = f"a number from 0 to {len(names) - 1}" if names else "a name or a number"
            raise DataError(f"{sample}: got the class {text!r}, expected {expected}")
        return names[int(text)] if names else text

    def _hot(self, sample: ShardSample, data: bytes) -> tuple[str, ...]:
        try:
            hot = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, MemoryError) as error:
            raise DataError(f"{sample}: not readable as npy: {error}") from error
        classes = len(self.numbered) or hot.size
        if hot.shape != (classes,) or not np.isin(hot, (0, 1)).all():
            raise DataError(
                f"{sample}: got a npy {hot.dtype} {list(hot.shape)}, "
                f"expected a zero or one for each of {classes} classes"
            )
        return tuple(self._by_number(sample, str(place)) for place in np.flatnonzero(hot))


def places_beside(place: Place, name: str) -> tuple[Place, Place]:
    """A file in a tar's folder and, as in CLIP_benchmark's layout, the one a folder above."""
    folder = place.parent.resolve() if isinstance(place, Path) else folder_of(place)
    return beside(place, name), beside(folder, name)


def read_beside(
    place: Place, name: str, read: Callable[[Place], tuple[str, ...]]
) -> tuple[str, ...]:
    """What a list in a tar's folder says or, where there is none, the one a folder above."""
    own, above = places_beside(place, name)
    return read(own) or read(above)


def _one_class(value: object) -> list[str | int] | None:
    """A class by name or number as a list of it, -1 as an empty one; None for anything else."""
    named = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return _classes([value]) if named else None


def _classes(value: object) -> list[str | int] | None:
    """A list of names and numbers; other things may be called `labels`, too."""
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in items):
        return None
    return [one for one in cast("list[str | int]", items) if one not in (-1, "-1", "")]


def _each_once(labels: Sequence[str], odd: list[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(labels))
    odd += ["class that a sample names twice"] if len(found) < len(labels) else []
    return found
