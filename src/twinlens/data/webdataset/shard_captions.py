"""Captions in a Parquet file beside a tar: `00000.parquet` of img2dataset's `00000.tar`."""

from __future__ import annotations

import io
from functools import lru_cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

from twinlens.data.sources.captions import TEXT_FIELDS, texts_of
from twinlens.data.sources.remote import Place, beside, name_of, read_small
from twinlens.data.webdataset.shards import ShardSample
from twinlens.errors import DataError, MissingExtraError


def read_table_captions(sample: ShardSample) -> tuple[str, ...]:
    """The caption that the table beside the tar has for a sample; none where there is no table.

    Its `key` is the sample's, with or without the folder that the tar has before it.

    Raises:
        DataError: The table is broken.
        MissingExtraError: There is one and pyarrow is not installed.
    """
    captions = _load_captions(caption_table_path(sample.shard))
    name = PurePosixPath(sample.key).name
    number = name.lstrip("0") or "0"  # where the table's keys are numbers
    return captions.get(sample.key) or captions.get(name) or captions.get(number, ())


def caption_table_path(shard: Place) -> Place:
    """Where the table of a tar would lie."""
    return beside(shard, PurePosixPath(name_of(shard)).with_suffix(".parquet").name)


@lru_cache(maxsize=64)  # a window of shuffling has some dozens of shards
def _load_captions(table: Place) -> dict[str, tuple[str, ...]]:
    data = read_small(table)
    if data is None:
        return {}
    try:
        parquet = import_module("pyarrow.parquet")
        broken: type[Exception] = import_module("pyarrow").ArrowException
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error
    try:
        return _parse_captions(parquet.ParquetFile(io.BytesIO(data)))
    except broken as error:
        told = " ".join(str(error).split())
        raise DataError(f"{table}: not a whole Parquet file: {told}") from error


def _parse_captions(file: Any) -> dict[str, tuple[str, ...]]:
    names: list[str] = file.schema_arrow.names
    known = {name.lower(): name for name in reversed(names)}
    columns = [known[field] for field in TEXT_FIELDS if field in known]
    if "key" not in known or not columns:  # a table of something else
        return {}
    rows = file.read(columns=[known["key"], *columns]).to_pylist()
    return {
        str(row[known["key"]]): next(filter(None, (texts_of(row[c]) for c in columns)), ())
        for row in rows
    }
