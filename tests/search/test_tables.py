"""Columns of metadata: their types, and how they are found in JSON."""

import sqlite3

import numpy as np
import pytest

from twinlens.search.tables import (
    SCHEMA,
    ColumnType,
    InputColumn,
    column_type,
    filtered_files,
    plain_metadata,
    widen_types,
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


def test_columns_are_found_by_any_name():
    columns = {
        "a b": InputColumn("text", "c0"), "d'e": InputColumn("integer", "c1"),
        "licence": InputColumn("text", "c2"), "Width": InputColumn("text", "c3"),
    }  # fmt: skip
    with sqlite3.connect(":memory:") as database:
        database.executescript(SCHEMA)
        database.execute("INSERT INTO images VALUES (0, 'h', 5, 6, NULL, NULL, NULL)")
        for place in ("c0", "c1", "c2", "c3"):
            database.execute(f"ALTER TABLE files ADD COLUMN {place}")
        database.execute("INSERT INTO files VALUES ('p', 0, 1, 1, 's', -1, 'x', '7', 'CC0', 'w')")
        database.execute("INSERT INTO notes VALUES ('p', 'a caption', NULL)")
        for condition, matches in {
            """"a b" = 'x'""": True, """"d'e" < 8""": True, """"d'e" = 8""": False,
            """"licence" = 'CC0'""": True, '"width" = 5': True, """"text" LIKE 'a %'""": True,
            """"text" IS NULL""": False, """"path" = 'p' AND "height" > 6""": False,
        }.items():  # fmt: skip
            found = database.execute(filtered_files(condition, columns, "path")).fetchall()
            assert bool(found) == matches, condition
    database.close()


def test_types_widen_over_the_rows_of_an_input():
    types: dict[str, ColumnType] = {}
    for row in ({"a": "1", "b": "x", "n": {"k": 1}}, {"a": "2.5", "B": "3", "c": None}, {"a": ""}):
        widen_types(types, row)
    assert types == {"a": "real", "b": "text"}
