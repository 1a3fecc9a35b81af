"""WebDataset tars as data sets, in img2dataset's, CLIP_benchmark's or our own layout.

A sample is a picture (`jpg`, `png`, `webp`, ...) with any of: `txt`, a caption a line; `json`,
whose `captions`, `label` and `concept` are ours; `cls`, the number of a class in the file
`classnames.txt` beside the tars.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeGuard, cast

from twinlens.data.samples import (
    CLASSNAMES_FILE,
    TEMPLATES_FILE,
    Dataset,
    LazySamples,
    Sample,
    checked_classnames,
    picture_member,
    read_lines,
    split_lines,
)
from twinlens.data.shards import ShardSample, read_index
from twinlens.errors import DataError


def open_tars(paths: Sequence[Path], name: str) -> Dataset:
    """Open tars as one data set.

    Raises:
        DataError: A tar is missing or cut short, there are no pictures, a key is there twice, or
            a label cannot be read.
    """
    shards = read_index(paths)
    pictures = [shard for shard in shards if picture_member(shard)]
    if not pictures:
        raise DataError(f"{paths[0]}: got no pictures, expected samples with jpg, png or webp")
    _check_keys(pictures)
    folder = paths[0].parent
    numbered = checked_classnames(_beside(folder, CLASSNAMES_FILE), folder)
    labels = _labels(pictures, numbered)
    return Dataset(
        name=name,
        samples=LazySamples(pictures, partial(_tar_sample, numbered=numbered), attrgetter("mark")),
        classnames=numbered if labels and labels <= set(numbered) else tuple(sorted(labels)),
        templates=_beside(folder, TEMPLATES_FILE),
        ignored=len(shards) - len(pictures),
    )


def _beside(folder: Path, name: str) -> tuple[str, ...]:
    """The lines of a file in the tars' folder or, as in CLIP_benchmark's layout, one above."""
    return read_lines(folder / name) or read_lines(folder.resolve().parent / name)


def _check_keys(shards: Sequence[ShardSample]) -> None:
    seen: dict[str, ShardSample] = {}
    for shard in shards:
        other = seen.setdefault(shard.key, shard)
        if other is not shard:
            raise DataError(f"{_where(shard)}: is in {other.shard} too, expected each key once")


def _labels(shards: Sequence[ShardSample], numbered: tuple[str, ...]) -> set[str]:
    """All labels; each tar is opened once."""
    labels: set[str | None] = set()
    for path, group in itertools.groupby(shards, key=lambda shard: shard.shard):
        with path.open("rb") as file:
            for shard in group:
                json_, cls = (
                    os.pread(file.fileno(), span[1], span[0]) if span else None
                    for span in (shard.members.get("json"), shard.members.get("cls"))
                )
                given = _parse(json_, shard).get("label")
                labels.add(_label(shard, given, cls, numbered))
    return {label for label in labels if label is not None}


def _tar_sample(shard: ShardSample, numbered: tuple[str, ...]) -> Sample:
    data = _parse(_read(shard, "json"), shard)
    label, concept = data.pop("label", None), data.pop("concept", None)
    captions: object = data.pop("captions", None) or split_lines(
        # Not read where the json has captions: each read opens the tar.
        _read(shard, "txt") or b"",
        _where(shard),
    )
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
