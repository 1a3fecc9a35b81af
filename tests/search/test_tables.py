"""Columns of metadata: their types, and how they are found in JSON."""

import sqlite3

import numpy as np
import pytest

from twinlens.search.tables import (
    SCHEMA,
    column_type,
    plain_metadata,
    quoted,
    rows_with_columns,
    widest,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("0", "integer"), ("-12", "integer"), ("1.5", "real"), ("1e5", "real"), (".5", "real"),
        ("00501", "text"), ("1.2.3", "text"), ("nan", "text"), ("2024-01-01", "text"),
        ("9" * 30, "real"), (3, "integer"), (0.5, "real"), ([1], "text"), ("", None), (None, None),
    ],
)  # fmt: skip
def test_the_narrowest_type(value: object, kind: str | None):
    assert column_type(value) == kind


def test_widest_holds_both():
    assert widest("integer", "real") == "real"
    assert widest("text", "integer") == "text"


def test_metadata_becomes_plain():
    plain = plain_metadata(
        {"nan": float("nan"), "n": np.int64(3), "f": np.float32(0.5), "l": (1, float("inf")),
         "o": object, "d": {"k": None}, "b": True}
    )  # fmt: skip
    assert plain["nan"] is None
    assert (plain["n"], plain["f"], plain["l"], plain["b"]) == (3, 0.5, [1, None], True)
    assert isinstance(plain["o"], str)


def test_columns_are_found_in_json_by_any_name():
    names = {"a b": "text", "d'e": "integer", "x.y": "real", "Width": "text"}
    with sqlite3.connect(":memory:") as database:
        database.executescript(SCHEMA)
        database.execute("INSERT INTO images VALUES (0, 'h', 5, 6, NULL, NULL, NULL)")
        database.execute(
            "INSERT INTO files VALUES ('p', 0, 1, 1, 's', -1, NULL, ?)",
            ['{"a b": "one", "d\'e": "7", "x.y": "2.5", "licence": "CC0", "Width": "wide"}'],
        )
        query = f"SELECT {quoted('a b')}, {quoted(chr(100) + chr(39) + 'e')}, licence, width FROM "
        found = database.execute(f"{query} ({rows_with_columns(names)})").fetchone()
    database.close()
    assert found == ("one", 7, "CC0", 5)
