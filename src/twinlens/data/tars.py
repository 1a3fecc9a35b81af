"""WebDataset tars as data sets, in img2dataset's, CLIP_benchmark's or our own layout.

A sample is a picture (`jpg`, `png`, `webp`, ...) with any of: `txt`, a caption a line; `json`,
whose `captions`, `label` and `concept` are ours; `cls`, the number of a class in the file
`classnames.txt` beside the tars. Captions may lie in a Parquet file beside the tar, too.
"""

from __future__ import annotations

import itertools
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

from twinlens.data.duplicates import check_keys
from twinlens.data.index_files import Progress, Shard, open_shards
from twinlens.data.remote import Place, beside, folder_of, name_of
from twinlens.data.samples import (
    CLASSNAMES_FILE,
    TEMPLATES_FILE,
    Dataset,
    LazySamples,
    Sample,
    checked_classnames,
    read_lines,
    split_lines,
)
from twinlens.data.shard_captions import captions_beside
from twinlens.data.shards import ShardSample
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
    numbered = checked_classnames(_beside(first, CLASSNAMES_FILE), folder_of(first))
    samples = TarSamples(shards, numbered)
    return Dataset(
        name=tars.name,
        samples=samples,
        classnames=samples.classnames,
        templates=_beside(first, TEMPLATES_FILE),
        ignored=tars.ignored + sum(shard.ignored for shard in shards),
        shard_sizes=sizes,
    )


class TarSamples(LazySamples):
    """The samples of tars, found through their indexes: nothing is held for each."""

    def __init__(self, shards: Sequence[Shard], numbered: tuple[str, ...] = ()) -> None:
        self._shards = shards
        self._numbered = numbered
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

        Raises:
            DataError: One cannot be read, or is not in the list of classes.
        """
        labels: set[str] = set()
        for shard in self._shards:
            if shard.has_labels:
                labels |= _labels(shard, self._numbered)
        return self._numbered if labels and labels <= set(self._numbered) else tuple(sorted(labels))

    def _sample(self, index: int) -> Sample:
        return _tar_sample(self.place(index), self._numbered)

    def _mark_of(self, index: int) -> object:
        return self.place(index).mark


def _beside(place: Place, name: str) -> tuple[str, ...]:
    """The lines of a file in the tars' folder or, as in CLIP_benchmark's layout, one above."""
    folder = place.parent.resolve() if isinstance(place, Path) else folder_of(place)
    return read_lines(beside(place, name)) or read_lines(beside(folder, name))


def _labels(shard: Shard, numbered: tuple[str, ...]) -> set[str]:
    """The labels of one tar, which is opened once if it is on this machine."""
    if isinstance(shard.place, str):
        return _labels_by(_read, shard, numbered)
    try:
        with shard.place.open("rb") as file:
            handle = file.fileno()

            def read(sample: ShardSample, ext: str) -> bytes | None:
                offset, size = sample.members.get(ext, (0, -1))
                return os.pread(handle, size, offset) if size >= 0 else None

            return _labels_by(read, shard, numbered)
    except OSError as error:
        raise DataError(f"{shard.place}: cannot be read: {error.strerror or error}") from error


def _labels_by(
    read: Callable[[ShardSample, str], bytes | None], shard: Shard, numbered: tuple[str, ...]
) -> set[str]:
    index = shard.index()
    labels: set[str | None] = set()
    for row in range(shard.rows):
        sample = index.sample(row, shard.place)
        given = _parse(read(sample, "json"), sample).get("label")
        labels.add(_label(sample, given, read(sample, "cls"), numbered))
    return {label for label in labels if label is not None}


def _tar_sample(shard: ShardSample, numbered: tuple[str, ...]) -> Sample:
    data = _parse(_read(shard, "json"), shard)
    label, concept = data.pop("label", None), data.pop("concept", None)
    # Nothing more is read where the json has captions: each read opens the tar.
    captions: object = data.pop("captions", None) or _other_captions(shard)
    if not _are_texts(captions) or not isinstance(concept, str | None):
        raise DataError(
            f"{_where(shard)}: got captions or a concept of another kind, expected text"
        )
    return Sample(
        key=shard.key,
        source=shard,
        captions=tuple(captions),
        label=_label(shard, label, _read(shard, "cls"), numbered),
        concept=concept,
        metadata=data,
    )


def _other_captions(shard: ShardSample) -> tuple[str, ...]:
    text = _read(shard, "txt")
    return captions_beside(shard) if text is None else split_lines(text, _where(shard))


def _read(shard: ShardSample, ext: str) -> bytes | None:
    return shard.read(ext) if ext in shard.members else None


def _where(shard: ShardSample) -> str:
    return f"{shard.shard}: sample {shard.key}"


def _are_texts(value: object) -> TypeGuard[Sequence[str]]:
    items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [None]
    return all(isinstance(item, str) for item in items)


def _parse(data: bytes | None, shard: ShardSample) -> dict[str, Any]:
    """The json member, or nothing where there is none."""
    try:
        content: object = json.loads("{}" if data is None else data.decode())
    except ValueError as error:
        raise DataError(f"{_where(shard)}: not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        got = type(content).__name__
        raise DataError(f"{_where(shard)}: got a JSON {got}, expected an object")
    return cast("dict[str, Any]", content)


def _label(
    shard: ShardSample, given: object, cls: bytes | None, numbered: tuple[str, ...]
) -> str | None:
    """The label that the json gives, else the cls; numbers are places in `classnames.txt`."""
    if isinstance(given, str):
        return given
    if given is None and cls is None:
        return None
    text = cls.decode(errors="replace").strip() if cls is not None and given is None else str(given)
    if not text.isdecimal() or (numbered and int(text) >= len(numbered)):
        expected = f"a number from 0 to {len(numbered) - 1}" if numbered else "a name or a number"
        raise DataError(f"{_where(shard)}: got the class {text!r}, expected {expected}")
    return numbered[int(text)] if numbered else text
