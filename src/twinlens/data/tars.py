"""WebDataset tars as data sets, in img2dataset's, CLIP_benchmark's or our own layout.

A sample is a picture (`jpg`, `png`, `webp`, ...) with any of: `txt`, a caption a line; `json`,
whose `captions`, `label` or `labels`, and `concept` are ours; `cls`, the number of a class in the
file `classnames.txt` beside the tars (see `tar_labels`). Captions may lie in a Parquet file beside
the tar, too.
"""

from __future__ import annotations

import itertools
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeGuard, cast

from twinlens.data.duplicates import check_keys
from twinlens.data.index_files import Progress, Shard, open_shards
from twinlens.data.lists import (
    CLASSNAMES_FILE,
    TEMPLATES_FILE,
    distinct_labels,
    read_classnames,
    read_templates,
    split_lines,
    spoken_names,
)
from twinlens.data.remote import Place, name_of
from twinlens.data.samples import Dataset, LazySamples, Sample, only
from twinlens.data.shard_captions import captions_beside
from twinlens.data.shards import ShardSample
from twinlens.data.tar_labels import Read, TarLabels, read_beside, where
from twinlens.errors import DataError


@dataclass(frozen=True, slots=True)
class Tars:
    """Tars that are one data set.

    Attributes:
        places: Where they are.
        name: What to call the data set.
        ignored: Files that are in its folder and not of it.
    """

    places: Sequence[Place]
    name: str
    ignored: int = 0


def open_tars(tars: Tars, progress: Progress | None = None) -> Dataset:
    """Open tars as one data set.

    Args:
        tars: Which.
        progress: Told of indexes that are built.

    Raises:
        DataError: A tar is missing or cut short, there are no pictures, or a key is there twice.
        MissingExtraError: A tar is remote and fsspec is not installed.
    """
    first = tars.places[0]
    shards = open_shards(tars.places, progress=progress)
    sizes = [shard.rows for shard in shards]
    if not any(sizes):
        raise DataError(f"{first}: got no pictures, expected samples with jpg, png or webp")
    check_keys(shards)
    names = read_beside(first, CLASSNAMES_FILE, read_classnames)
    labels = distinct_labels(names)
    samples = TarSamples(shards, TarLabels(first, labels))
    return Dataset(
        name=tars.name,
        samples=samples,
        classnames=samples.classnames,
        spoken=spoken_names(labels, names),
        multi_label=samples.multi_label,
        templates=read_beside(first, TEMPLATES_FILE, read_templates),
        ignored=tars.ignored + sum(shard.ignored for shard in shards),
        shard_sizes=sizes,
    )


class TarSamples(LazySamples):
    """The samples of tars, found through their indexes: nothing is held for each."""

    def __init__(self, shards: Sequence[Shard], labels: TarLabels) -> None:
        self._shards = shards
        self._labels = labels
        self._ends = list(itertools.accumulate(shard.rows for shard in shards))
        super().__init__(range(self._ends[-1]), self._sample, self._mark_of)

    def place(self, index: int) -> ShardSample:
        """Where a sample lies."""
        number = bisect_right(self._ends, index)
        shard = self._shards[number]
        return shard.index().sample(index - self._ends[number] + shard.rows, shard.place)

    def marks(self) -> Iterator[object]:
        """One value a tar."""
        return ((name_of(shard.place), shard.digest) for shard in self._shards)

    def classnames(self) -> tuple[str, ...]:
        """All labels, for which each sample's json and cls are read.

        Those of the list beside the tars are all there, also without samples.

        Raises:
            DataError: One cannot be read, or is not in the list of classes.
        """
        return self._classes[0]

    def multi_label(self) -> bool:
        """Whether a sample tells its labels as a list, or `dataset_type.txt` says so.

        Raises:
            DataError: As `classnames`.
        """
        return self._classes[1]

    @cached_property
    def _classes(self) -> tuple[tuple[str, ...], bool]:
        labelled = [shard for shard in self._shards if shard.has_labels]
        several = bool(labelled) and self._labels.multi_label
        labels: set[str] = set()
        for shard in labelled:
            found, as_list = _labels(shard, self._labels)
            labels |= found
            several |= as_list
        numbered = self._labels.numbered
        return numbered if numbered and (labels or several) else tuple(sorted(labels)), several

    def _sample(self, index: int) -> Sample:
        return _tar_sample(self.place(index), self._labels)

    def _mark_of(self, index: int) -> object:
        return self.place(index).mark


def _labels(shard: Shard, labels: TarLabels) -> tuple[set[str], bool]:
    """The labels of one tar, which is opened once if it is on this machine."""
    if isinstance(shard.place, str):
        return _labels_by(_read, shard, labels)
    try:
        with shard.place.open("rb") as file:
            return _labels_by(partial(_read_open, file.fileno()), shard, labels)
    except OSError as error:
        raise DataError(f"{shard.place}: cannot be read: {error.strerror or error}") from error


def _labels_by(read: Read, shard: Shard, labels: TarLabels) -> tuple[set[str], bool]:
    index = shard.index()
    found: set[str] = set()
    as_list = False
    for row in range(shard.rows):
        sample = index.sample(row, shard.place)
        told = labels.of(sample, _parse(read(sample, "json"), sample), read)
        _check_listed(sample, set(told.labels) - found, labels.numbered)
        found.update(told.labels)
        as_list |= told.as_list
    return found, as_list


def _check_listed(sample: ShardSample, labels: set[str], numbered: Sequence[str]) -> None:
    for label in sorted(labels):
        if numbered and label not in numbered:
            raise DataError(
                f"{where(sample)}: got the class {label!r}, "
                f"expected one of the {len(numbered)} in {CLASSNAMES_FILE}"
            )


def _tar_sample(shard: ShardSample, labels: TarLabels) -> Sample:
    data = _parse(_read(shard, "json"), shard)
    told = labels.of(shard, data, _read).labels
    concept = data.pop("concept", None)
    # Nothing more is read where the json has captions: each read opens the tar.
    captions: object = data.pop("captions", None) or _other_captions(shard)
    if not _are_texts(captions) or not isinstance(concept, str | None):
        raise DataError(f"{where(shard)}: got captions or a concept of another kind, expected text")
    return Sample(
        key=shard.key,
        source=shard,
        captions=tuple(captions),
        label=only(told),
        labels=told,
        concept=concept,
        metadata=data,
    )


def _other_captions(shard: ShardSample) -> tuple[str, ...]:
    text = _read(shard, "txt")
    return captions_beside(shard) if text is None else split_lines(text, where(shard))


def _read(shard: ShardSample, ext: str) -> bytes | None:
    return shard.read(ext) if ext in shard.members else None


def _read_open(handle: int, sample: ShardSample, ext: str) -> bytes | None:
    offset, size = sample.members.get(ext, (0, -1))
    return os.pread(handle, size, offset) if size >= 0 else None


def _are_texts(value: object) -> TypeGuard[Sequence[str]]:
    items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [None]
    return all(isinstance(item, str) for item in items)


def _parse(data: bytes | None, shard: ShardSample) -> dict[str, Any]:
    """The json member, or nothing where there is none."""
    try:
        content: object = json.loads("{}" if data is None else data.decode())
    except ValueError as error:
        raise DataError(f"{where(shard)}: not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        got = type(content).__name__
        raise DataError(f"{where(shard)}: got a JSON {got}, expected an object")
    return cast("dict[str, Any]", content)
