"""Tables of images and words: CSV, TSV and JSON-lines files, row by row; Parquet by its reader.

A row names its image by a path or a URL, or (Parquet) holds its bytes. Where there is no column
`label`, `labels` may have several classes: with `|` between, or (Parquet, JSON lines) a list.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from twinlens.data.sources.captions import (
    another_kind,
    pop_concept,
    read_json,
    text_encoding,
    texts_of,
    unique_labels,
)
from twinlens.data.sources.columns import Chosen, Columns, choose, refusal
from twinlens.data.sources.parquet import (
    TableImage,
    class_names,
    image_column_kind,
    is_list,
    parquet_rows,
    parquet_schema,
)
from twinlens.errors import DataError

__all__ = ["SUFFIXES", "Row", "Table", "TableImage", "read_table"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""File name endings of the tables that `read_table` reads."""

_SEPARATORS = (",", "\t", ";", "|")
_LONGEST_CELL = 2**30
"""Characters: the module's own limit of 131,072 refuses long captions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table.

    Attributes:
        where: The table and the row, counted from 1, for messages.
        number: That number.
        image: A path, a URL, the image itself, or None where the cell is empty.
        texts: Its captions.
        labels: Its classes, as they are written: names, or numbers of classes.
        concept: What it depicts.
        others: The other columns.
        passed_over: What is of another kind, a reason each.
    """

    where: str
    number: int
    image: str | TableImage | None
    texts: tuple[str, ...]
    labels: tuple[str | int, ...]
    concept: str | None
    others: dict[str, Any]
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """All rows.

    Attributes:
        rows: In their order.
        classnames: The names behind class numbers, if the table has them.
        multi_label: Whether a row has any number of labels.
    """

    rows: list[Row] = field(default_factory=list[Row])
    classnames: tuple[str, ...] = ()
    multi_label: bool = False


def read_table(path: Path, wanted: Columns | None = None, *, words: bool = True) -> Table:
    """Read a table with a column of images and columns of captions or classes or both.

    Args:
        path: The file.
        wanted: Names of the columns, where they are others than the known ones.
        words: Whether captions or classes have to be there.

    Raises:
        DataError: The file is missing or broken, or lacks these columns.
        MissingExtraError: It is Parquet and pyarrow is not installed.
    """
    wanted = wanted or Columns()
    try:
        return _READERS.get(path.suffix.lower(), _read_delimited)(path, wanted, words)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a table") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: got bytes that are not UTF-8 ({error}), expected text") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_delimited(path: Path, wanted: Columns, words: bool) -> Table:
    with path.open("rb") as start:
        encoding = text_encoding(start.read(2))
    # Lines end at line feeds alone: the csv module joins those inside quotes.
    with path.open(encoding=encoding, newline="") as file:
        header = file.readline()
        separator = _separator(path, header, wanted, words)
        lines = _cells(file, path, separator)
        names = next(_cells(iter([header]), path, separator), (0, list[str]()))[1]
        names = [name.strip() for name in names]
        chosen = choose(names, wanted, words=words)
        if chosen is None:
            raise refusal(path, names, wanted)
        _check_once(path, names, chosen)
        rows: list[Row] = []
        for line, cells in lines:
            if not cells or (len(cells) == 1 and not cells[0].strip()):  # an empty line
                continue
            where = f"{path}: row {len(rows) + 1}"
            if len(cells) != len(names):
                raise DataError(
                    f"{where} (line {line}): got {len(cells)} cells, expected {len(names)}"
                )
            values: dict[str, Any] = dict(zip(names[::-1], cells[::-1], strict=True))
            if chosen.label is not None and chosen.several:
                told: str = values[chosen.label]
                values[chosen.label] = told.split("|") if told.strip() else []
            rows.append(_row(values, chosen, len(rows) + 1, where))
    return Table(rows, multi_label=chosen.several)


def _separator(path: Path, header: str, wanted: Columns, words: bool) -> str:
    """The separator by the user or the ending, or else the one that makes columns of the header."""
    if wanted.separator is not None:
        return wanted.separator
    if path.suffix.lower() == ".tsv":
        return "\t"
    for separator in _SEPARATORS:
        with suppress(DataError):  # quotes in the header that another separator explains
            names = next(_cells(iter([header]), path, separator), (0, list[str]()))[1]
            if choose(names, wanted, words=words):
                return separator
    return _SEPARATORS[0]


def _cells(lines: Iterator[str], path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line; between tabs, cells are taken as they are."""
    csv.field_size_limit(max(_LONGEST_CELL, csv.field_size_limit()))
    if separator == "\t":
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=separator, strict=True)
    rows = 0
    try:
        for cells in reader:
            rows += bool(cells)
            yield reader.line_num + 1, cells  # the header was read before
    except csv.Error as error:
        raise DataError(
            f"{path}: row {rows + 1} (until line {reader.line_num + 1}): "
            f"not a readable table: {error}"
        ) from error


def _check_once(path: Path, names: Sequence[str], chosen: Chosen) -> None:
    for name in (chosen.image, *chosen.texts, *([chosen.label] if chosen.label else [])):
        if names.count(name) > 1:
            raise DataError(f"{path}: got the column {name!r} twice, expected it once")


def _read_json_lines(path: Path, wanted: Columns, words: bool) -> Table:
    rows: list[Row] = []
    several = False
    names: dict[str, None] = {}
    with path.open("rb") as file:
        for number, line in enumerate(filter(bytes.strip, file), start=1):
            where, odd = f"{path}: row {number}", list[str]()
            values = read_json(line, odd)
            if odd:
                raise DataError(f"{where}: got a line that is no JSON object, expected one")
            names |= dict.fromkeys(values)
            chosen = _json_columns(values, wanted)
            several |= chosen.several and isinstance(values.get(str(chosen.label)), list)
            rows.append(_row(values, chosen, number, where))
    asked = words and wanted.text is None
    told = any(row.texts or (asked and row.labels) for row in rows) or not (words or wanted.text)
    if rows and not (told and any(row.image for row in rows)):
        raise refusal(path, list(names), wanted)
    return Table(rows, multi_label=several)


def _json_columns(values: dict[str, Any], wanted: Columns) -> Chosen:
    """The columns of one line, which may lack any: then its row has no image or no words."""
    chosen = choose(list(values), wanted, words=False)
    if chosen is None and wanted.text is not None:
        chosen = choose(list(values), replace(wanted, text=None), words=False)
        chosen = chosen and replace(chosen, texts=())
    return chosen or Chosen(image="", texts=(), label=None, several=False)


def _read_parquet(path: Path, wanted: Columns, words: bool) -> Table:
    schema = parquet_schema(path)
    chosen = choose(schema.names, wanted, words=words)
    if chosen is None:
        raise refusal(path, schema.names, wanted)
    _check_once(path, schema.names, chosen)
    kind = image_column_kind(schema, chosen.image)
    if kind is None:
        raise DataError(
            f"{path}: got {chosen.image!r} of type {schema.field(chosen.image).type}, "
            "expected paths or encoded images"
        )
    classes = class_names(schema, chosen.label)
    if classes and chosen.several and not is_list(schema, str(chosen.label)):
        chosen = replace(chosen, several=False)  # a class each, in a column called `labels`
    asked = [name for name in schema.names if kind == "paths" or name != chosen.image]
    rows: list[Row] = []
    for number, values in enumerate(parquet_rows(path, asked), start=1):
        if kind == "inside":
            values[chosen.image] = TableImage(path, number - 1, chosen.image)
        rows.append(_row(values, chosen, number, f"{path}: row {number}"))
    # What else may be called `labels` is no class.
    is_odd = any(another_kind(str(chosen.label)) in row.passed_over for row in rows)
    return Table(rows, classes, multi_label=chosen.several and not is_odd)


def _row(values: dict[str, Any], chosen: Chosen, number: int, where: str) -> Row:
    odd: list[str] = []
    image = values.pop(chosen.image, None)
    if not isinstance(image, str | TableImage):
        image = None
    labels = _labels(values, chosen, odd)
    if values.get("concept") is None:  # an empty cell
        values.pop("concept", None)
    return Row(
        where=where,
        number=number,
        image=(image.strip() or None) if isinstance(image, str) else image,
        texts=_texts(values, chosen, odd),
        labels=labels,
        concept=pop_concept(values, odd),
        others=values,
        passed_over=tuple(odd),
    )


def _texts(values: dict[str, Any], chosen: Chosen, odd: list[str]) -> tuple[str, ...]:
    """The captions of the first column that has some; those of the others stay metadata."""
    for name in chosen.texts:
        given = values.get(name)
        if isinstance(given, list):
            given = [one for one in cast("list[object]", given) if one is not None]
        texts = () if given is None else texts_of(given)
        if texts:
            del values[name]
            return texts
        if texts is None:
            odd.append(another_kind(name))
        else:
            values.pop(name, None)
    return ()


def _labels(values: dict[str, Any], chosen: Chosen, odd: list[str]) -> tuple[str | int, ...]:
    if chosen.label is None:
        return ()
    given = values[chosen.label]
    told = cast("list[object]", given) if isinstance(given, list) else [given]
    # Whole numbers are written so where pandas had an empty cell among them.
    told = [int(one) if isinstance(one, float) and one.is_integer() else one for one in told]
    usable = all(isinstance(one, str | int | None) and not isinstance(one, bool) for one in told)
    if not usable or (given is not None and isinstance(given, list) != chosen.several):
        odd.append(another_kind(chosen.label))
        return ()
    del values[chosen.label]
    names = [one.strip() if isinstance(one, str) else one for one in cast("list[Any]", told)]
    # -1 marks hidden test labels.
    found = [one for one in names if one not in (None, "", -1, "-1")]
    return unique_labels(found, odd)


_READERS = {".parquet": _read_parquet, ".jsonl": _read_json_lines}
"""Readers of tables by the ending of their names; others are delimited text."""
