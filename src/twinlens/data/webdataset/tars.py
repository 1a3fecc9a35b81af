"""WebDataset tars as data sets, in img2dataset's, CLIP_benchmark's or our own layout.

A sample is an image (`jpg`, `png`, `webp`, ...) with captions and metadata (see `captions`) and
perhaps its class: `label` or `labels` of its `json`, or `cls`, the number of a class in the file
`classnames.txt` beside the tars (see `tar_labels`).
"""

from __future__ import annotations

import itertools
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from twinlens.data.left_out import LeftOut, joined
from twinlens.data.samples import Dataset, LazySamples, Sample, only
from twinlens.data.sources.captions import describe, read_json
from twinlens.data.sources.metadata_files import (
    CLASSNAMES_FILE,
    TEMPLATES_FILE,
    distinct_labels,
    read_classnames,
    read_templates,
    spoken_names,
)
from twinlens.data.sources.natural_order import natural_key
from twinlens.data.sources.remote import Place, name_of
from twinlens.data.webdataset.duplicate_keys import repeated_keys
from twinlens.data.webdataset.indexes import Progress, Shard, open_shards
from twinlens.data.webdataset.shard_captions import captions_beside, table_beside
from twinlens.data.webdataset.shards import ShardSample
from twinlens.data.webdataset.tar_labels import Read, TarLabels, Told, read_beside
from twinlens.errors import DataError
from twinlens.types import Split

NO_CLASS = "class that cannot be used"

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Tars:
    """Tars that are one data set.

    Attributes:
        places: Where they are.
        name: What to call the data set.
        left_out: Files that are in its folder and not of it.
        split: The split that their names or their folder tell, if they do.
    """

    places: Sequence[Place]
    name: str
    left_out: LeftOut = field(default_factory=LeftOut)
    split: Split | None = None


def open_tars(tars: Tars, progress: Progress | None = None) -> Dataset:
    """Open tars as one data set.

    Args:
        tars: Which.
        progress: Told of indexes that are built.

    Raises:
        DataError: A tar is missing or cut short, or there are no images.
        MissingExtraError: A tar is remote and fsspec is not installed.
    """
    first = tars.places[0]
    shards = open_shards(tars.places, progress=progress)
    sizes = [shard.rows for shard in shards]
    left_out = joined([tars.left_out, *(shard.left_out for shard in shards)])
    if not any(sizes):
        told = f"; {'; '.join(left_out.lines())}" if left_out.total else ""
        raise DataError(f"{first}: got no images, expected samples with jpg, png or webp{told}")
    repeated = repeated_keys(shards)
    left_out.merge(repeated)
    names, names_error = _class_list(first)
    labels = distinct_labels(names)
    samples = TarSamples(shards, TarLabels(first, labels), told_apart=repeated.total > 0)
    return Dataset(
        name=tars.name,
        samples=samples,
        classnames=partial(_raised, names_error, samples.classnames),
        spoken=spoken_names(labels, names),
        multi_label=partial(_raised, names_error, samples.multi_label),
        templates=partial(read_beside, first, TEMPLATES_FILE, read_templates),
        left_out=left_out,
        without_caption=joined(_without_caption(shards)),
        shard_sizes=sizes,
        split=tars.split,
    )


def _class_list(first: Place) -> tuple[tuple[str, ...], DataError | None]:
    """The names of classes beside a tar; what is wrong with them matters where they are asked."""
    try:
        return read_beside(first, CLASSNAMES_FILE, read_classnames), None
    except DataError as error:
        return (), error


def _raised(error: DataError | None, find: Callable[[], _Found]) -> _Found:
    if error is not None:
        raise error
    return find()


def tars_left_out(tars: Tars, shards: Sequence[Shard]) -> LeftOut:
    """What tars leave out of training, those of them that can be opened."""
    parts = [tars.left_out, *(shard.left_out for shard in shards), repeated_keys(shards)]
    return joined([*parts, *_without_caption(shards)])


def _without_caption(shards: Sequence[Shard]) -> Iterator[LeftOut]:
    """Samples without a file of text, of those tars that have no table beside them."""
    for shard in shards:
        table = table_beside(shard.place)
        if shard.without_caption.total and isinstance(table, Path) and not table.exists():
            yield shard.without_caption


class TarSamples(LazySamples):
    """The samples of tars, found through their indexes: nothing is held for each."""

    def __init__(
        self, shards: Sequence[Shard], labels: TarLabels, *, told_apart: bool = False
    ) -> None:
        """Join tars.

        Args:
            shards: The tars.
            labels: What their samples' classes are.
            told_apart: Put the tar's name before each key: keys are there more than once.
        """
        self._shards = shards
        self._labels = labels
        self._told_apart = told_apart
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
        found = tuple(sorted(labels, key=natural_key))
        return numbered if numbered and (labels or several) else found, several

    def _sample(self, index: int) -> Sample:
        place = self.place(index)
        sample = _tar_sample(place, self._labels)
        if not self._told_apart:
            return sample
        return replace(sample, key=f"{PurePosixPath(name_of(place.shard)).stem}/{sample.key}")

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
        told = labels.of(sample, read_json(read(sample, "json"), []), read, [])
        _check_listed(sample, set(told.labels) - found, labels.numbered)
        found.update(told.labels)
        as_list |= told.as_list
    return found, as_list


def _check_listed(sample: ShardSample, labels: set[str], numbered: Sequence[str]) -> None:
    for label in sorted(labels):
        if numbered and label not in numbered:
            raise DataError(
                f"{sample}: got the class {label!r}, "
                f"expected one of the {len(numbered)} in {CLASSNAMES_FILE}"
            )


def _tar_sample(shard: ShardSample, labels: TarLabels) -> Sample:
    found = describe(partial(_read, shard), partial(captions_beside, shard))
    try:
        told = labels.of(shard, found.metadata, _read, found.passed_over)
    except DataError:  # who needs labels asks for the classes, and is told
        told = Told()
        found.passed_over.append(NO_CLASS)
    return Sample(
        key=shard.key,
        source=shard,
        captions=found.captions,
        label=only(told.labels),
        labels=told.labels,
        concept=found.concept,
        metadata=found.metadata,
        passed_over=tuple(found.passed_over),
    )


def _read(shard: ShardSample, ending: str) -> bytes | None:
    ext = shard.find(ending)
    return None if ext is None else shard.read(ext)


def _read_open(handle: int, sample: ShardSample, ending: str) -> bytes | None:
    ext = sample.find(ending)
    if ext is None:
        return None
    offset, size = sample.members[ext]
    return os.pread(handle, size, offset)
