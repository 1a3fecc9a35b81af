"""Captions in a Parquet file beside a tar: `00000.parquet` of img2dataset's `00000.tar`."""

from __future__ import annotations

import io
from functools import lru_cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

from twinlens.data.remote import Place, beside, name_of, read_small
from twinlens.data.shards import ShardSample
from twinlens.errors import DataError, MissingExtraError

_COLUMNS = ("caption", "text")


def captions_beside(sample: ShardSample) -> tuple[str, ...]:
    """The caption that the table beside the tar has for a sample; none where there is no table.

    Raises:
        DataError: The table is broken, or lacks `key` or a column of captions.
        MissingExtraError: There is one and pyarrow is not installed.
    """
    name = PurePosixPath(name_of(sample.shard)).with_suffix(".parquet").name
    caption = _captions(beside(sample.shard, name)).get(sample.key)
    return (caption,) if caption else ()


@lru_cache(maxsize=64)  # a window of shuffling has some dozens of shards
def _captions(table: Place) -> dict[str, str]:
    data = read_small(table)
    if data is None:
        return {}
    try:
        parquet = import_module("pyarrow.parquet")
        broken: type[Exception] = import_module("pyarrow").ArrowException
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error
    try:
        return _read_table(parquet.ParquetFile(io.BytesIO(data)), table)
    except broken as error:
        told = " ".join(str(error).split())
        raise DataError(f"{table}: not a whole Parquet file: {told}") from error


def _read_table(file: Any, table: Place) -> dict[str, str]:
    names: list[str] = file.schema_arrow.names
    column = next((name for name in _COLUMNS if name in names), None)
    if column is None or "key" not in names:
        got = ", ".join(map(repr, names)) or "none"
        raise DataError(
            f"{table}: got the columns {got}, expected 'key' and 'caption' beside a tar without txt"
        )
    rows = file.read(columns=["key", column])
    pairs = zip(rows.column("key").to_pylist(), rows.column(column).to_pylist(), strict=True)
    return {str(key): " ".join(text.split()) for key, text in pairs if isinstance(text, str)}
