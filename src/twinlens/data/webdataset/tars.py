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
from twinlens.data.webdataset.duplicate_keys import find_duplicate_keys
from twinlens.data.webdataset.indexes import Shard, open_shards
from twinlens.data.webdataset.shard_captions import caption_table_path, read_table_captions
from twinlens.data.webdataset.shards import ShardSample
from twinlens.data.webdataset.tar_labels import (
    MemberReader,
    SampleLabels,
    TarLabelReader,
    read_metadata_file,
)
from twinlens.errors import DataError, os_errors_as
from twinlens.types import ProgressCallback, Split

UNUSABLE_CLASS = "class that cannot be used"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TarGroup:
    """Tars that are one data set.

    Attributes:
        locations: Where they are.
        name: What to call the data set.
        left_out: Files that are in its folder and not of it.
        split: The split that their names or their folder tell, if they do.
    """

    locations: Sequence[Place]
    name: str
    left_out: LeftOut = field(default_factory=LeftOut)
    split: Split | None = None


def open_tars(tars: TarGroup, progress: ProgressCallback | None = None) -> Dataset:
    """Open tars as one data set.

    Args:
        tars: Which.
        progress: Told of indexes that are built.

    Raises:
        DataError: A tar is missing or cut short, or there are no images.
        MissingExtraError: A tar is remote and fsspec is not installed.
    """
    first = tars.locations[0]
    shards = open_shards(tars.locations, progress=progress)
    sizes = [shard.num_samples for shard in shards]
    left_out = joined([tars.left_out, *(shard.left_out for shard in shards)])
    if not any(sizes):
        told = f"; {'; '.join(left_out.lines())}" if left_out.total else ""
        raise DataError(f"{first}: got no images, expected samples with jpg, png or webp{told}")
    repeated = find_duplicate_keys(shards)
    left_out.merge(repeated)
    names, names_error = _read_class_list(first)
    labels = distinct_labels(names)
    samples = TarSamples(shards, TarLabelReader(first, labels), prefix_keys=repeated.total > 0)
    return Dataset(
        name=tars.name,
        samples=samples,
        classnames=partial(_raise_or_call, names_error, samples.classnames),
        spoken=spoken_names(labels, names),
        multi_label=partial(_raise_or_call, names_error, samples.multi_label),
        templates=partial(read_metadata_file, first, TEMPLATES_FILE, read_templates),
        left_out=left_out,
        without_caption=joined(_left_out_without_caption(shards)),
        shard_sizes=sizes,
        split=tars.split,
    )


def _read_class_list(first: Place) -> tuple[tuple[str, ...], DataError | None]:
    """The names of classes beside a tar; what is wrong with them matters where they are asked."""
    try:
        return read_metadata_file(first, CLASSNAMES_FILE, read_classnames), None
    except DataError as error:
        return (), error


def _raise_or_call(error: DataError | None, call: Callable[[], _T]) -> _T:
    if error is not None:
        raise error
    return call()


def summarise_left_out(tars: TarGroup, shards: Sequence[Shard]) -> LeftOut:
    """Return what tars leave out of training, those of them that can be opened."""
    parts = [tars.left_out, *(shard.left_out for shard in shards), find_duplicate_keys(shards)]
    return joined([*parts, *_left_out_without_caption(shards)])


def _left_out_without_caption(shards: Sequence[Shard]) -> Iterator[LeftOut]:
    """Samples without a file of text, of those tars that have no table beside them."""
    for shard in shards:
        table = caption_table_path(shard.place)
        if shard.without_caption.total and isinstance(table, Path) and not table.exists():
            yield shard.without_caption


class TarSamples(LazySamples):
    """The samples of tars, found through their indexes: nothing is held for each."""

    def __init__(
        self, shards: Sequence[Shard], labels: TarLabelReader, *, prefix_keys: bool = False
    ) -> None:
        """Join tars.

        Args:
            shards: The tars.
            labels: What their samples' classes are.
            prefix_keys: Put the tar's name before each key: keys are there more than once.
        """
        self._shards = shards
        self._labels = labels
        self._prefix_keys = prefix_keys
        self._ends = list(itertools.accumulate(shard.num_samples for shard in shards))
        super().__init__(range(self._ends[-1]), self._sample, self._mark_of)

    def locate(self, index: int) -> ShardSample:
        """Return the place of a sample."""
        number = bisect_right(self._ends, index)
        shard = self._shards[number]
        return shard.load_index().sample_at(
            index - self._ends[number] + shard.num_samples, shard.place
        )

    def marks(self) -> Iterator[object]:
        """One value a tar."""
        return ((name_of(shard.place), shard.digest) for shard in self._shards)

    def classnames(self) -> tuple[str, ...]:
        """All labels, for which each sample's json and cls are read.

        Those of the list beside the tars are all there, also without samples.

        Raises:
            DataError: One cannot be read, or is not in the list of classes.
        """
        return self._labels_and_kind[0]

    def multi_label(self) -> bool:
        """True if a sample tells its labels as a list, or `dataset_type.txt` says so.

        Raises:
            DataError: As `classnames`.
        """
        return self._labels_and_kind[1]

    @cached_property
    def _labels_and_kind(self) -> tuple[tuple[str, ...], bool]:
        labelled = [shard for shard in self._shards if shard.has_labels]
        several = bool(labelled) and self._labels.multi_label
        labels: set[str] = set()
        for shard in labelled:
            found, as_list = _read_shard_labels(shard, self._labels)
            labels |= found
            several |= as_list
        numbered = self._labels.class_labels
        found = tuple(sorted(labels, key=natural_key))
        return numbered if numbered and (labels or several) else found, several

    def _sample(self, index: int) -> Sample:
        place = self.locate(index)
        sample = _make_sample(place, self._labels)
        if not self._prefix_keys:
            return sample
        return replace(sample, key=f"{PurePosixPath(name_of(place.shard)).stem}/{sample.key}")

    def _mark_of(self, index: int) -> object:
        return self.locate(index).mark


def _read_shard_labels(shard: Shard, reader: TarLabelReader) -> tuple[set[str], bool]:
    """The labels of one tar, which is opened once if it is on this machine."""
    if isinstance(shard.place, str):
        return _collect_labels(_read_member, shard, reader)
    with os_errors_as(DataError, shard.place, "cannot be read"), shard.place.open("rb") as file:
        return _collect_labels(partial(_read_member_of_open_tar, file.fileno()), shard, reader)


def _collect_labels(
    read: MemberReader, shard: Shard, reader: TarLabelReader
) -> tuple[set[str], bool]:
    index = shard.load_index()
    found: set[str] = set()
    as_list = False
    for row in range(shard.num_samples):
        sample = index.sample_at(row, shard.place)
        told = reader.labels_of(sample, read_json(read(sample, "json"), []), read, [])
        _require_listed(sample, set(told.labels) - found, reader.class_labels)
        found.update(told.labels)
        as_list |= told.is_list
    return found, as_list


def _require_listed(sample: ShardSample, labels: set[str], numbered: Sequence[str]) -> None:
    for label in sorted(labels):
        if numbered and label not in numbered:
            raise DataError(
                f"{sample}: got the class {label!r}, "
                f"expected one of the {len(numbered)} in {CLASSNAMES_FILE}"
            )


def _make_sample(shard: ShardSample, reader: TarLabelReader) -> Sample:
    found = describe(partial(_read_member, shard), partial(read_table_captions, shard))
    try:
        told = reader.labels_of(shard, found.metadata, _read_member, found.passed_over)
    except DataError:  # who needs labels asks for the classes, and is told
        told = SampleLabels()
        found.passed_over.append(UNUSABLE_CLASS)
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


def _read_member(shard: ShardSample, ending: str) -> bytes | None:
    ext = shard.find_extension(ending)
    return None if ext is None else shard.read_member(ext)


def _read_member_of_open_tar(handle: int, sample: ShardSample, ending: str) -> bytes | None:
    ext = sample.find_extension(ending)
    if ext is None:
        return None
    offset, size = sample.members[ext]
    return os.pread(handle, size, offset)
