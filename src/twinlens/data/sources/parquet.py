"""Parquet files of images: rows, the images inside, and the names of classes, by pyarrow."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, cast

from twinlens.data.samples import file_size
from twinlens.data.sources.remote import Place
from twinlens.errors import DataError, MissingExtraError, one_line


@dataclass(frozen=True, slots=True)
class TableImage:
    """An image inside a Parquet file: nothing is read before `read_image`."""

    table: Path
    row: int
    column: str = "image"

    @property
    def mark(self) -> tuple[str, int, int]:
        """The image's identity: the file's name, the row, the file's size."""
        return self.table.name, self.row, file_size(self.table)

    def read_image(self) -> bytes:
        """The image's encoded bytes.

        Whole row groups are read, the last two of them kept: cheap in order, not at random.

        Raises:
            DataError: The cell is empty, or the file cannot be read.
        """
        starts = _group_starts(self.table)
        group = bisect_right(starts, self.row) - 1
        cell = _image_cells(self.table, group, self.column)[self.row - starts[group]].as_py()
        data: bytes | None = cast(Any, cell).get("bytes") if isinstance(cell, dict) else cell
        if data is None:
            raise DataError(f"{self}: got an empty {self.column!r}, expected an image")
        return data

    def __str__(self) -> str:
        return f"{self.table}: row {self.row + 1}"


def parquet_schema(path: Place, data: bytes | None = None) -> Any:
    """The columns of a file, as pyarrow's Schema.

    Args:
        path: The file.
        data: Its content, where it was read before.

    Raises:
        DataError: It is missing or broken.
        MissingExtraError: pyarrow is not installed.
    """
    return _parquet_file(path, data).schema_arrow


def parquet_rows(
    path: Place, columns: Sequence[str], data: bytes | None = None
) -> Iterator[dict[str, Any]]:
    """The cells of each row by the names of their columns.

    Args:
        path: The file.
        columns: Those that are read.
        data: The file's content, where it was read before.

    Raises:
        DataError: The file is broken.
    """
    try:
        for batch in _parquet_file(path, data).iter_batches(columns=list(columns)):
            cells = [_values(column) for column in batch.columns]
            for row in range(batch.num_rows):
                yield {
                    name: values[row]
                    for name, values in zip(batch.schema.names, cells, strict=True)
                }
    except _pyarrow().ArrowException as error:
        raise _broken(path, error) from error


def _values(column: Any) -> list[Any]:
    """A column's cells."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return [_value(cell) for cell in column]


def _value(cell: Any) -> Any:
    """A cell; where Python has no such value, as text, and empty where that is none either.

    Python has no times of single nanoseconds, no years after 9999, and no text but Unicode's.
    """
    for made in (cell.as_py, lambda: cell.cast("string").as_py()):
        with suppress(ValueError, OverflowError, _pyarrow().ArrowException):
            return made()
    return None


def image_column_kind(schema: Any, column: str) -> Literal["paths", "inside"] | None:
    """The kind of a column: of paths, or of encoded images as bytes or Hugging Face's structs."""
    types = _pyarrow().types
    kind = schema.field(column).type
    if types.is_dictionary(kind):  # pandas' categories: values are kept once
        kind = kind.value_type
    written = str(kind).removeprefix("large_").removesuffix("_view")
    if types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return "inside" if "bytes" in names else None
    return {"string": "paths", "null": "paths"}.get(written) or (  # pyright: ignore[reportReturnType]
        "inside" if written.startswith(("binary", "fixed_size_binary")) else None
    )


def is_list(schema: Any, column: str) -> bool:
    """True if a column has a list of values a row."""
    types, kind = _pyarrow().types, schema.field(column).type
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def class_names(schema: Any, column: str | None) -> tuple[str, ...]:
    """The names behind class numbers, as Hugging Face data sets keep them in the schema.

    None where the schema says nothing of that kind: other programs write there what they like.
    """
    metadata: dict[bytes, bytes] = schema.metadata or {}
    try:
        feature: Any = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"][column]
        if isinstance(feature, list):  # a list of classes was once written as a list of its kind
            feature = feature[0]
        names = feature.get("feature", feature).get("names")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return ()
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known else ()


def _pyarrow() -> Any:
    try:
        return import_module("pyarrow")  # only Parquet needs it
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error


def _broken(path: Place, error: Exception) -> DataError:
    return DataError(f"{path}: not a whole Parquet file: {one_line(error)}")


def _parquet_file(path: Place, data: bytes | None = None) -> Any:
    arrow = _pyarrow()
    try:
        return import_module("pyarrow.parquet").ParquetFile(
            path if data is None else io.BytesIO(data)
        )
    except arrow.ArrowException as error:
        raise _broken(path, error) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


@lru_cache(maxsize=1024)
def _group_starts(path: Path) -> list[int]:
    """The first row of each row group."""
    meta = _parquet_file(path).metadata
    sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
    return [0, *accumulate(sizes)][:-1]


@lru_cache(maxsize=2)
def _image_cells(path: Path, group: int, column: str) -> Any:
    try:
        return _parquet_file(path).read_row_group(group, columns=[column]).column(column)
    except _pyarrow().ArrowException as error:
        raise _broken(path, error) from error
