"""The tables of an index, as SQLite has them, and the columns that filters may name."""

from __future__ import annotations

import math
import os
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ColumnType = Literal["integer", "real", "text"]
"""Types of a column of metadata, from the narrowest to the widest."""

SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (spec TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE images (
    row INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE,
    width INTEGER, height INTEGER, taken TEXT, camera TEXT, licence TEXT
);
CREATE TABLE files (
    path TEXT PRIMARY KEY, row INTEGER NOT NULL REFERENCES images (row),
    size INTEGER NOT NULL, modified INTEGER NOT NULL, source TEXT NOT NULL,
    item INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX files_of_images ON files (row);
CREATE TABLE notes (path TEXT PRIMARY KEY, text TEXT, metadata TEXT) WITHOUT ROWID;
CREATE TABLE unreadable (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    source TEXT NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE columns (
    name TEXT PRIMARY KEY, type TEXT NOT NULL, place TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE holes (row INTEGER PRIMARY KEY);
CREATE TABLE loose (row INTEGER PRIMARY KEY);
CREATE TRIGGER file_removed AFTER DELETE ON files BEGIN
    INSERT OR IGNORE INTO loose VALUES (OLD.row);
    DELETE FROM notes WHERE path = OLD.path;
END;
"""
"""`files` gets a column for each of the input, which `columns` lists. Long texts are apart in
`notes`: a filter reads all of `files`. `loose` holds rows that have lost a file, within a
transaction: some of them have none left."""

OWN_COLUMNS: Mapping[str, ColumnType] = {
    "path": "text",
    "size": "integer",
    "width": "integer",
    "height": "integer",
    "taken": "text",
    "camera": "text",
    "licence": "text",
    "text": "text",
}
"""Columns of every index. Of an input's columns of such names a filter sees `taken`, `camera` and
`licence`, where the file itself says nothing."""

_FACTS = ("taken", "camera", "licence")
"""Columns of the image's file that the input may give instead."""

_OF_IMAGES = ("width", "height", *_FACTS)

MAX_COLUMNS = 500
"""Of the input that filters may name: SQLite has room for 2,000."""

_TYPES: tuple[ColumnType, ...] = ("integer", "real", "text")
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})")
_REAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


def column_type(value: object) -> ColumnType | None:
    """The narrowest type that holds a value of the input; None of an empty one.

    A table's cells are text: "640" is an integer, "007" is not, as its zeros may mean something.

    Example:
        >>> [column_type(value) for value in ("640", 2.5, "007", "", True, None)]
        ['integer', 'real', 'text', None, 'integer', None]
    """
    if value is None or value == "":
        return None
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "real"
    text = str(value)
    if _INTEGER.fullmatch(text):
        return "integer"
    has_zeros = re.match(r"[+-]?0\d", text)
    return "real" if _REAL.fullmatch(text) and not has_zeros else "text"


def widest(one: ColumnType, other: ColumnType) -> ColumnType:
    """The type that holds the values of both."""
    return _TYPES[max(_TYPES.index(one), _TYPES.index(other))]


def widen_types(types: dict[str, ColumnType], metadata: Mapping[str, Any]) -> None:
    """Note the columns of one image's metadata, each with a type that holds its values so far."""
    for name, value in metadata.items():
        kind = column_type(value)
        if kind is None or isinstance(value, dict | list):
            continue
        known = types.get(name)
        if known is None and _is_left_out(name, types):
            continue
        types[name] = widest(known, kind) if known else kind


def _is_left_out(name: str, types: Mapping[str, ColumnType]) -> bool:
    """True of a column beyond what filters may name, or that SQL does not tell from another."""
    same = any(name.lower() == other.lower() for other in (*types, ROW.strip('"')))
    return same or len(types) >= MAX_COLUMNS or not name.isprintable()


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of the input.

    Attributes:
        type: The narrowest type that holds all its values.
        place: Its name in the table of files.
    """

    type: ColumnType
    place: str


ROW = '"#row"'
"""The row in a SELECT of files, beside which a column of the input may be named `row`."""


def filtered_files(
    condition: str, columns: Mapping[str, InputColumn], selected: str, within: str = ""
) -> str:
    """A SELECT of the files that match a condition; only tables that it names are joined.

    Args:
        condition: In SQL, with names of columns in double quotes.
        columns: Those of the input.
        selected: What to select: `ROW` or path.
        within: A clause that cuts down the files before the condition is looked at.
    """
    tables = "files"
    expressions = [f"files.row AS {ROW}", "files.path AS path", "NULLIF(size, -1) AS size"]
    if any(f'"{name}"' in condition for name in _OF_IMAGES):
        tables += " JOIN images ON images.row = files.row"
        expressions += ["width", "height"]
        expressions += [f"COALESCE({_of_input(name, columns)}) AS {name}" for name in _FACTS]
    if '"text"' in condition:
        tables += " LEFT JOIN notes ON notes.path = files.path"
        expressions.append("text")
    expressions += [
        f"CAST(NULLIF({column.place}, '') AS {column.type.upper()}) AS {quoted(name)}"
        for name, column in columns.items()
        if name.lower() not in OWN_COLUMNS
    ]
    inner = f"SELECT {', '.join(expressions)} FROM {tables} {within}"
    return f"SELECT DISTINCT {selected} FROM ({inner}) WHERE {condition}"


def _of_input(name: str, columns: Mapping[str, InputColumn]) -> str:
    """The file's own value of a fact, then the input's."""
    own = f"images.{name}"
    return f"{own}, {columns[name].place}" if name in columns else f"{own}, NULL"


def quoted(name: str) -> str:
    """A name of a column in SQL."""
    return '"' + name.replace('"', '""') + '"'


def connect(address: str) -> sqlite3.Connection:
    """Open a database by its URI; file names of any encoding come back as Python has them."""
    database = sqlite3.connect(
        address, uri=True, timeout=60, check_same_thread=False, isolation_level=None
    )
    database.text_factory = _decode_text
    return database


def encode_text(text: str | None) -> bytes | None:
    """A text as `CAST(? AS TEXT)` takes it: a file's name may be of no encoding."""
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _decode_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def database_uri(path: str | os.PathLike[str], **options: str) -> str:
    """The URI of a database's file."""
    from urllib.parse import quote, urlencode  # noqa: PLC0415  only here

    query = f"?{urlencode(options)}" if options else ""
    return f"file:{quote(os.fsencode(path))}{query}"


def plain_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON has it: numbers that are no numbers are none, other values are text."""
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return _plain(value.item())
    return str(value)
