"""WebDataset tars as data sets, in img2dataset's, CLIP_benchmark's or our own layout.

A sample is a picture (`jpg`, `png`, `webp`, ...) with any of: `txt`, a caption a line; `json`,
whose `captions`, `label` and `concept` are ours; `cls`, the number of a class in the file
`classnames.txt` beside the tars.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

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
        samples=LazySamples(pictures, partial(_tar_sample, numbered=numbered)),
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
                members = {
                    ext: os.pread(file.fileno(), size, offset)
                    for ext, (offset, size) in shard.members.items()
                    if ext in ("json", "cls")
                }
                labels.add(_tar_label(shard, members, numbered))
    return {label for label in labels if label is not None}


def _tar_sample(shard: ShardSample, numbered: tuple[str, ...]) -> Sample:
    members = {ext: shard.read(ext) for ext in ("json", "txt", "cls") if ext in shard.members}
    where = _where(shard)
    data = _json(members, where)
    label = _tar_label(shard, members, numbered)
    captions, concept = data.pop("captions", None), data.pop("concept", None)
    data.pop("label", None)
    if not (captions is None or _is_texts(captions)) or not isinstance(concept, str | None):
        raise DataError(f"{where}: got captions or a concept of another kind, expected text")
    if not captions:
        captions = split_lines(members.get("txt", b""), where)
    return Sample(
        key=shard.key,
        source=shard,
        captions=tuple(captions),
        label=label,
        concept=concept,
        metadata=data,
    )


def _where(shard: ShardSample) -> str:
    return f"{shard.shard}: sample {shard.key}"


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(text, str) for text in cast("list[object]", value)
    )


def _json(members: Mapping[str, bytes], where: str) -> dict[str, Any]:
    try:
        data = json.loads(members.get("json", b"{}").decode())
    except ValueError as error:
        raise DataError(f"{where}: not readable as JSON: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{where}: got a JSON {type(data).__name__}, expected an object")
    return cast("dict[str, Any]", data)


def _tar_label(
    shard: ShardSample, members: Mapping[str, bytes], numbered: tuple[str, ...]
) -> str | None:
    """The label of the json or cls member; numbers are places in `classnames.txt`."""
    label = _json(members, _where(shard)).get("label")
    if isinstance(label, str):
        return label
    if label is None and "cls" not in members:
        return None
    text = members["cls"].decode(errors="replace").strip() if label is None else str(label)
    if not text.isdecimal() or (numbered and int(text) >= len(numbered)):
        expected = f"a number from 0 to {len(numbered) - 1}" if numbered else "a name or a number"
        raise DataError(f"{_where(shard)}: got the class {text!r}, expected {expected}")
    return numbered[int(text)] if numbered else text
