"""The classes of the samples of tars: by name or number, one or several."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from twinlens.data.sources.captions import another_kind, unique_labels
from twinlens.data.sources.metadata_files import TYPE_FILE, read_type
from twinlens.data.sources.remote import Place, beside, folder_of
from twinlens.data.webdataset.shards import ShardSample
from twinlens.errors import DataError

MemberReader = Callable[[ShardSample, str], bytes | None]
"""Gives the bytes of a sample's member, or nothing where it has none."""


class SampleLabels(NamedTuple):
    """The classes of one sample.

    Attributes:
        labels: Its classes.
        is_list: Whether they were told as a list: of any number, also one or none.
    """

    labels: tuple[str, ...] = ()
    is_list: bool = False


@dataclass(frozen=True)
class TarLabelReader:
    """The labels of tars that are one data set.

    Attributes:
        first_shard: The first of the tars.
        class_labels: The classes' labels by number; none where numbers are the labels.
    """

    first_shard: Place
    class_labels: tuple[str, ...] = ()

    @cached_property
    def multi_label(self) -> bool:
        """True if `dataset_type.txt` says so; it is read when a sample leaves it open."""
        own, above = candidate_files(self.first_shard, TYPE_FILE)
        return "multilabel" in (read_type(own), read_type(above))

    def labels_of(
        self, sample: ShardSample, data: dict[str, Any], read: MemberReader, passed_over: list[str]
    ) -> SampleLabels:
        """The labels of a sample: its JSON's, which are taken out, else its cls's or npy's.

        A JSON has `label`, or a list `labels`. A cls has a number, or several between commas or
        blanks. In what `dataset_type.txt` calls multilabel, an empty cls is of no class, and a npy
        has a zero or one for each class, as CLIP_benchmark writes it. -1 is no class: it stands
        for a label that is kept from us. What is of another kind is passed over: `passed_over`
        gets a reason.

        Raises:
            DataError: A number is out of range, or a cls or npy is none.
        """
        for name, take in (("label", _parse_class), ("labels", _parse_class_list)):
            if name in data and (given := take(data[name])) is not None:
                named = [
                    one if isinstance(one, str) else self._label_of_index(sample, str(one))
                    for one in given
                ]
                labels = unique_labels(named, passed_over)
                del data[name]
                return SampleLabels(labels, name == "labels")
            passed_over += [another_kind(name)] if name in data else []
        cls = read(sample, "cls")
        if cls is not None:
            return self._parse_cls(sample, cls.decode(errors="replace"), passed_over)
        hot = read(sample, "npy") if sample.find_extension("npy") and self.multi_label else None
        if hot is None:
            return SampleLabels()
        return SampleLabels(self._parse_multi_hot(sample, hot), True)

    def _parse_cls(self, sample: ShardSample, text: str, passed_over: list[str]) -> SampleLabels:
        words = text.replace(",", " ").split()
        single = len(words) == 1 or not (words or self.multi_label)
        if single and words != ["-1"]:
            return SampleLabels((self._label_of_index(sample, text.strip()),))
        names = [self._label_of_index(sample, word) for word in words if word != "-1"]
        return SampleLabels(unique_labels(names, passed_over), not single)

    def _label_of_index(self, sample: ShardSample, text: str) -> str:
        names = self.class_labels
        if not text.isdecimal() or (names and int(text) >= len(names)):
            expected = f"a number from 0 to {len(names) - 1}" if names else "a name or a number"
            raise DataError(f"{sample}: got the class {text!r}, expected {expected}")
        return names[int(text)] if names else text

    def _parse_multi_hot(self, sample: ShardSample, data: bytes) -> tuple[str, ...]:
        try:
            hot = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, MemoryError) as error:
            raise DataError(f"{sample}: not readable as npy: {error}") from error
        classes = len(self.class_labels) or hot.size
        if hot.shape != (classes,) or not np.isin(hot, (0, 1)).all():
            raise DataError(
                f"{sample}: got a npy {hot.dtype} {list(hot.shape)}, "
                f"expected a zero or one for each of {classes} classes"
            )
        return tuple(self._label_of_index(sample, str(place)) for place in np.flatnonzero(hot))


def candidate_files(place: Place, name: str) -> tuple[Place, Place]:
    """A file in a tar's folder and, as in CLIP_benchmark's layout, the one a folder above."""
    folder = place.parent.resolve() if isinstance(place, Path) else folder_of(place)
    return beside(place, name), beside(folder, name)


def read_metadata_file(
    place: Place, name: str, read: Callable[[Place], tuple[str, ...]]
) -> tuple[str, ...]:
    """Read a list in a tar's folder or, if there is none, the one a folder above."""
    own, above = candidate_files(place, name)
    return read(own) or read(above)


def _parse_class(value: object) -> list[str | int] | None:
    """A class by name or number as a list of it, -1 as an empty one; None for anything else."""
    named = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return _parse_class_list([value]) if named else None


def _parse_class_list(value: object) -> list[str | int] | None:
    """A list of names and numbers; other things may be called `labels`, too."""
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in items):
        return None
    return [one for one in cast("list[str | int]", items) if one not in (-1, "-1", "")]
