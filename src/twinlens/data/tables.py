"""Tables of pictures and words: CSV, TSV and Parquet files, row by row.

A row names its picture by a path, or (Parquet) holds its bytes, as bytes or as the struct
{bytes, path} of Hugging Face data sets. Where there is no column `label`, `labels` may have several
classes: with `|` between, or (Parquet) a list.
"""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from twinlens.data.lists import distinct_labels, spoken_names
from twinlens.errors import DataError, MissingExtraError

SUFFIXES = (".csv", ".tsv", ".parquet")
"""File name endings of the tables that `read_table` reads."""

_COLUMNS = "a column 'image', and 'text' or 'label' (or 'labels') or both"


@dataclass(frozen=True, slots=True)
class TableImage:
    """A picture inside a Parquet file: nothing is read before `read`."""

    table: Path
    row: int

    def read(self) -> bytes:
        """The picture's encoded bytes.

        Whole row groups are read, the last two of them kept: cheap in order, not at random.

        Raises:
            DataError: The cell is empty, or the file cannot be read.
        """
        starts = _group_starts(self.table)
        group = bisect_right(starts, self.row) - 1
        cell = _image_cells(self.table, group)[self.row - starts[group]].as_py()
        data: bytes | None = cast(Any, cell).get("bytes") if isinstance(cell, dict) else cell
        if data is None:
            raise DataError(f"{self}: got an empty 'image', expected a picture")
        return data

    def __str__(self) -> str:
        return f"{self.table}: row {self.row + 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: its number (from 1), its picture, its words, and the other columns."""

    number: int
    image: str | TableImage
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    others: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """All rows.

    Attributes:
        rows: In their order.
        classnames: The labels in the table's own order, if it has one.
        spoken: Names of those classes whose label is another.
        multi_label: Whether a row has any number of labels.
    """

    rows: list[Row] = field(default_factory=list[Row])
    classnames: tuple[str, ...] = ()
    spoken: Mapping[str, str] = field(default_factory=dict[str, str])
    multi_label: bool = False


def read_table(path: Path) -> Table:
    """Read a table with a column `image` and the columns `text` or `label` or both.

    Raises:
        DataError: The file is missing or broken, lacks these columns, or has a bad row.
        MissingExtraError: It is Parquet and pyarrow is not installed.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        return _read_delimited(path, "\t" if path.suffix.lower() == ".tsv" else ",")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a table") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: got bytes that are not UTF-8 ({error}), expected text") from error
    except csv.Error as error:
        raise DataError(f"{path}: not a readable table: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if "image" not in columns or not {"text", "label", "labels"} & set(columns):
        found = ", ".join(map(repr, columns)) or "none"
        raise DataError(f"{path}: got the columns {found}, expected {_COLUMNS}")
    doubled = {name for name in columns if columns.count(name) > 1}
    if doubled:
        raise DataError(f"{path}: got the column {sorted(doubled)[0]!r} twice, expected it once")


def _labels_column(columns: Sequence[str]) -> str:
    """`label` where there is one: `labels` is another column then, like any."""
    return "labels" if "labels" in columns and "label" not in columns else "label"


def _read_delimited(path: Path, delimiter: str) -> Table:
    # -sig: spreadsheets put a mark before the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        columns = [name.strip() for name in next(lines, list[str]())]
        _check_columns(path, columns)
        rows: list[Row] = []
        for cells in lines:
            if not cells:  # an empty line, which Python's own DictReader passes over as well
                continue
            where = f"{path}: row {len(rows) + 1} (line {lines.line_num})"
            if len(cells) != len(columns):
                raise DataError(f"{where}: got {len(cells)} cells, expected {len(columns)}")
            rows.append(_row(dict(zip(columns, cells, strict=True)), len(rows) + 1, where))
    return Table(rows, multi_label=_labels_column(columns) == "labels")


def _row(values: dict[str, Any], number: int, where: str) -> Row:
    """A row of a CSV or TSV file."""
    image = values.pop("image").strip()
    if not image:
        raise DataError(f"{where}: got an empty 'image', expected a path")
    text = values.pop("text", "").strip()
    column = _labels_column(list(values))
    told = values.pop(column, "").strip()
    names = told.split("|") if column == "labels" and told else [told] if told else []
    return Row(
        number=number,
        image=image,
        texts=(text,) if text else (),
        labels=_each_once([name.strip() for name in names], where),
        others=values,
    )


def _each_once(labels: Sequence[str], where: str) -> tuple[str, ...]:
    if "" in labels:
        raise DataError(f"{where}: got an empty class among 'labels', expected a name")
    doubled = [label for place, label in enumerate(labels) if label in labels[:place]]
    if doubled:
        raise DataError(f"{where}: got the class {doubled[0]!r} twice, expected it once")
    return tuple(labels)


def _read_parquet(path: Path) -> Table:
    file = _parquet_file(path)
    schema = file.schema_arrow
    _check_columns(path, schema.names)
    arrow = _pyarrow()
    kind = schema.field("image").type
    inside = arrow.types.is_struct(kind) or _is_binary(kind)
    if not inside and not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
        raise DataError(f"{path}: got 'image' of type {kind}, expected paths or encoded pictures")
    wanted = [name for name in schema.names if not (name == "image" and inside)]
    column = _labels_column(schema.names)
    if column == "labels" and not _is_list(schema.field(column).type):
        if "text" not in schema.names:
            raise DataError(f"{path}: got 'labels' of another type, expected lists of classes")
        column = "label"  # nothing of ours
    names = _class_names(schema, column)
    classes = distinct_labels(names)
    rows: list[Row] = []
    for index, values in enumerate(_parquet_rows(path, wanted)):
        where = f"{path}: row {index + 1}"
        image = TableImage(path, index) if inside else values.pop("image")
        if not image:
            raise DataError(f"{where}: got an empty 'image', expected a path")
        texts = _texts(values.pop("text", None), where)
        told = values.pop(column, None)
        given = told or [] if column == "labels" else [told]
        labels = [label for one in given if (label := _label(one, classes, where)) is not None]
        rows.append(
            Row(
                number=index + 1,
                image=image,
                texts=texts,
                labels=_each_once(labels, where),
                others=values,
            )
        )
    return Table(rows, classes, spoken_names(classes, names), multi_label=column == "labels")


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        for batch in _parquet_file(path).iter_batches(columns=list(columns)):
            yield from batch.to_pylist() if columns else ({} for _ in range(batch.num_rows))
    except _pyarrow().ArrowException as error:
        raise _broken(path, error) from error


def _texts(value: object, where: str) -> tuple[str, ...]:
    given = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = [text for text in given if text is not None]
    strings = [text.strip() for text in texts if isinstance(text, str)]
    if len(strings) < len(texts):
        raise DataError(f"{where}: got 'text' that is no text, expected text or a list of texts")
    return tuple(text for text in strings if text)


def _label(value: object, classnames: Sequence[str], where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value.strip() or None if value else None
    if not isinstance(value, int):
        raise DataError(f"{where}: got 'label' {value!r}, expected text or a class number")
    if not classnames:
        return str(value)
    if not -1 <= value < len(classnames):
        raise DataError(f"{where}: got class {value}, expected 0 to {len(classnames) - 1}")
    return classnames[value] if value >= 0 else None  # -1 marks hidden test labels


def _class_names(schema: Any, column: str) -> tuple[str, ...]:
    """The names behind class numbers, as Hugging Face data sets keep them in the schema."""
    metadata: dict[bytes, bytes] = schema.metadata or {}
    described = json.loads(metadata.get(b"huggingface", b"{}"))
    feature = described.get("info", {}).get("features", {}).get(column, {})
    if isinstance(feature, list):  # a list of classes was once written as a list of its kind
        feature = feature[0] if feature else {}
    return tuple(feature.get("feature", feature).get("names") or ())


def _pyarrow() -> Any:
    try:
        return import_module("pyarrow")  # only Parquet needs it
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error


def _is_binary(kind: Any) -> bool:
    types = _pyarrow().types
    return types.is_binary(kind) or types.is_large_binary(kind)


def _is_list(kind: Any) -> bool:
    types = _pyarrow().types
    return types.is_list(kind) or types.is_large_list(kind)


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a whole Parquet file: {' '.join(str(error).split())}")


def _parquet_file(path: Path) -> Any:
    arrow = _pyarrow()
    try:
        return import_module("pyarrow.parquet").ParquetFile(path)
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
def _image_cells(path: Path, group: int) -> Any:
    try:
        return _parquet_file(path).read_row_group(group, columns=["image"]).column("image")
    except _pyarrow().ArrowException as error:
        raise _broken(path, error) from error
