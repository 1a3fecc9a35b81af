"""The filter of `--where` against a table of SQLite and against an evaluation in Python."""

# ruff: noqa: RUF001

import operator
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.errors import ConfigError, TwinlensError, UnknownNameError
from twinlens.search.where import (
    MAX_CHARACTERS,
    MAX_CONDITIONS,
    MAX_NESTING,
    MAX_PATTERN_CHARACTERS,
    MAX_VALUES,
    ColumnType,
    Filter,
    parse_filter,
)

COLUMNS: dict[str, ColumnType] = {
    "width": "integer",
    "Größe": "integer",
    "score": "real",
    "licence": "text",
    "taken": "text",
    "camera model": "text",
    'the "best"': "integer",
    "exif.iso": "integer",
}
ROWS: list[tuple[Any, ...]] = [
    (500, 1, 0.5, "CC0", "2023-12-31T23:59:59", "X-T5", 1, 100),
    (501, 2, -0.5, "cc0", "2024-01-01T00:00:00", "it's", 0, 200),
    (600, None, 1e300, "MIT", "2024-06-30T12:00:00", "100% \\ a_b", None, None),
    (None, 0, None, None, None, None, 1, 400),
    (-5, 500, 500.0, "", "", "É", 0, -1),
    (2**63 - 1, -(2**63), float(2**53), "日本", "é", "a\nb", 1, 2**53 + 1),
    (0, 0, 0.0, "CC", "CC0", "; DROP TABLE images --", 0, 0),
    (2**53, 2**53 + 1, -1e-300, "😀", "\uffff", "x\u0308", None, 5),
]


def table() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", check_same_thread=False)
    names = ['"' + name.replace('"', '""') + '"' for name in COLUMNS]
    fields = ", ".join(f"{n} {t.upper()}" for n, t in zip(names, COLUMNS.values(), strict=True))
    database.execute(f"CREATE TABLE images (row INTEGER PRIMARY KEY, {fields})")
    marks = ", ".join("?" * (len(COLUMNS) + 1))
    database.executemany(
        f"INSERT INTO images VALUES ({marks})", [(n, *row) for n, row in enumerate(ROWS)]
    )
    return database


TABLE = table()
QUERY = (
    "SELECT row FROM images WHERE row < 0 OR row >= 0 AND row IN "
    "(SELECT row FROM images WHERE row < 0 OR row >= 0 AND "
)


def run(found: Filter) -> list[int]:
    """Rows that a filter matches, in a query that takes some of SQLite's limits itself."""
    return [row for (row,) in TABLE.execute(f"{QUERY}{found.sql}) ORDER BY row", found.parameters)]


def matches(text: str) -> list[int]:
    return run(parse_filter(text, COLUMNS))


def rows(condition: Callable[[Mapping[str, Any]], bool | None]) -> list[int]:
    """Rows for which a condition is true, neither false nor unknown."""
    named = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    return [n for n, row in enumerate(named) if condition(row) is True]


class Node(NamedTuple):
    """An expression as text and as a function of a row; `level` is 0 OR, 1 AND, 2 NOT, 3 others."""

    text: str
    level: int
    evaluate: Callable[[Mapping[str, Any]], bool | None]


COMPARE = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def opposite(value: bool | None) -> bool | None:
    return None if value is None else not value


def all_of(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def like(text: str, pattern: str) -> bool:
    """SQLite's LIKE: capitals of ASCII are small letters."""
    capitals = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
    parts = [{"%": ".*", "_": "."}.get(c, re.escape(c)) for c in pattern.translate(capitals)]
    return re.fullmatch("".join(parts), text.translate(capitals), re.DOTALL) is not None


NUMBERS = [name for name, kind in COLUMNS.items() if kind != "text"]
TEXTS = [name for name, kind in COLUMNS.items() if kind == "text"]
IN_ROWS = [value for row in ROWS for value in row if value is not None]


@st.composite
def spelled_name(draw: st.DrawFn, name: str) -> str:
    written = draw(st.sampled_from([name, name.upper(), name.lower()]))
    bare = re.fullmatch(r"[^\W\d][\w.]*", written) is not None and draw(st.booleans())
    return written if bare else '"' + written.replace('"', '""') + '"'


@st.composite
def number_value(draw: st.DrawFn) -> tuple[str, int | float]:
    stored = st.sampled_from([one for one in IN_ROWS if not isinstance(one, str)])
    whole = st.integers(-(2**70), 2**70) | st.integers(-3, 3)
    value = draw(stored | whole | st.floats(allow_nan=False, allow_infinity=False))
    text = repr(value)
    form = draw(st.sampled_from(["plain", "plus", "quoted", "exponent", "boolean"]))
    if form == "plus" and not text.startswith("-"):
        text = f"+{text}"
    elif form == "quoted":
        text = f"'{text}'"
    elif form == "exponent" and isinstance(value, int) and abs(value) < 2**50:
        text, value = f"{value}.E0", float(value)
    elif form == "boolean" and value in (0, 1):
        text = draw(st.sampled_from([["false", "FALSE"], ["true", "True"]][int(value)]))
    return text, value


@st.composite
def text_value(draw: st.DrawFn) -> tuple[str, str]:
    stored = st.sampled_from([one for one in IN_ROWS if isinstance(one, str)])
    free = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
    value = draw(stored | st.sampled_from(["2024-01-01", "cC0", "5"]) | free)
    return "'" + value.replace("'", "''") + "'", value


@st.composite
def pattern(draw: st.DrawFn) -> tuple[str, str]:
    part = st.sampled_from(["%", "_", "%", "c", "C", "0", "2024", "É", "é", "\\", "'", "\n", "日"])
    value = "".join(draw(st.lists(part, max_size=4)))
    return "'" + value.replace("'", "''") + "'", value


@st.composite
def word(draw: st.DrawFn, text: str) -> str:
    return draw(st.sampled_from([text, text.lower(), text.title()]))


def known(*values: object) -> bool:
    return None not in values


@st.composite
def comparison(draw: st.DrawFn) -> Node:
    names, values = draw(st.sampled_from([(NUMBERS, number_value()), (TEXTS, text_value())]))
    column, sign = draw(st.sampled_from(names)), draw(st.sampled_from(sorted(COMPARE)))
    name, compare = draw(spelled_name(column)), COMPARE[sign]
    sign = draw(st.sampled_from([sign, f" {sign} "]))
    kind = draw(st.sampled_from(["value", "swapped", "column"]))
    if kind == "column":
        other = draw(st.sampled_from(names))
        right = draw(spelled_name(other))
        return Node(
            f"{name}{sign}{right}", 3,
            lambda row: (
                compare(row[column], row[other]) if known(row[column], row[other]) else None
            ),
        )  # fmt: skip
    text, value = draw(values)
    if kind == "swapped":
        return Node(
            f"{text}{sign}{name}", 3,
            lambda row: compare(value, row[column]) if known(row[column]) else None,
        )  # fmt: skip
    return Node(
        f"{name}{sign}{text}", 3,
        lambda row: compare(row[column], value) if known(row[column]) else None,
    )  # fmt: skip


@st.composite
def keyword_condition(draw: st.DrawFn) -> Node:
    kind = draw(st.sampled_from(["IN", "BETWEEN", "LIKE", "NULL"]))
    names, values = draw(st.sampled_from([(NUMBERS, number_value()), (TEXTS, text_value())]))
    column = draw(st.sampled_from(TEXTS if kind == "LIKE" else names))
    name, negated = draw(spelled_name(column)), draw(st.booleans())
    no = draw(word("NOT ")) if negated else ""
    sign = opposite if negated else bool
    if kind == "NULL":
        text = f"{name} {draw(word('IS'))} {no}{draw(word('NULL'))}"
        return Node(text, 3, lambda row: sign(row[column] is None))
    if kind == "LIKE":
        text, value = draw(pattern())
        test = lambda found: like(found, value)  # noqa: E731
    elif kind == "IN":
        some = draw(st.lists(values, min_size=1, max_size=4))
        text = f"({', '.join(one for one, _ in some)})"
        test = lambda found: any(found == one for _, one in some)  # noqa: E731
    else:
        (low_text, low), (high_text, high) = draw(values), draw(values)
        text = f"{low_text} {draw(word('AND'))} {high_text}"
        test = lambda found: low <= found <= high  # noqa: E731
    return Node(
        f"{name} {no}{draw(word(kind))} {text}", 3,
        lambda row: sign(test(row[column])) if known(row[column]) else None,
    )  # fmt: skip


@st.composite
def joined(draw: st.DrawFn, children: st.SearchStrategy[Node]) -> Node:
    level = draw(st.sampled_from([0, 1, 2]))
    nodes = draw(
        st.lists(children, min_size=1 if level == 2 else 2, max_size=1 if level == 2 else 3)
    )

    def wrapped(node: Node) -> str:
        needed = node.level < level
        return f"({node.text})" if needed or draw(st.integers(0, 5)) == 0 else node.text

    texts = [wrapped(node) for node in nodes]
    if level == 2:
        inner = nodes[0].evaluate
        return Node(f"{draw(word('NOT'))} {texts[0]}", 2, lambda row: opposite(inner(row)))
    blank = draw(st.sampled_from([" ", "\n", " \t "]))
    text = f"{blank}{draw(word(['OR', 'AND'][level]))}{blank}".join(texts)
    if level == 1:
        return Node(text, 1, lambda row: all_of([one.evaluate(row) for one in nodes]))
    return Node(
        text, 0, lambda row: opposite(all_of([opposite(one.evaluate(row)) for one in nodes]))
    )


EXPRESSIONS = st.recursive(comparison() | keyword_condition(), joined, max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS)
def test_random_conditions_match_the_rows_that_an_evaluation_in_python_does(node: Node):
    assert matches(node.text) == rows(node.evaluate), node.text


PIECES = [
    *COMPARE, "(", ")", ",", ";", "--", "/*", "*/", "*", "+", "-", ".", "'", '"', "''", "%", "\\",
    "AND", "or", "NOT", "IN", "BETWEEN", "LIKE", "IS", "NULL", "true", "SELECT", "UNION", "lower",
    "width", "licence", '"camera model"', "score", "widht", "5", "-1.5", "1e999", "0x1F", "'a'",
    " ", "\n", "\x00", "\ud800", "ſ", "é", "‘a’", "１", "\ufeff", "[width]", "`width`",
    "?", ":a", "@a", "$1",
]  # fmt: skip
GARBAGE = (
    st.text(st.characters())
    | st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
    | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)
    | st.tuples(EXPRESSIONS, st.integers(0, 60), st.sampled_from(PIECES)).map(
        lambda parts: parts[0].text[: parts[1]] + parts[2] + parts[0].text[parts[1] :]
    )
)


@settings(max_examples=200, deadline=None)
@given(GARBAGE)
def test_any_text_either_runs_or_is_refused_in_one_line(text: str):
    message, found = "", None
    try:
        found = parse_filter(text, COLUMNS)
    except TwinlensError as error:
        message = str(error)
    if found is None:
        assert len(message.splitlines()) == 1
        assert message.startswith(("where: got ", "unknown column in where "))
        message.encode()  # no lone surrogates
    else:
        run(found)
        words = re.sub(r'"(?:[^"]|"")*"', "", found.sql)
        assert re.fullmatch(r"(?:AND|OR|NOT|IN|BETWEEN|LIKE|IS|NULL|[?()=!<>, ])*", words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width > 500 AND taken < '2024-07'", [1, 2]),
        ("width = 600.0", [2]),
        ("width = '600'", [2]),
        ("500 < width", [1, 2, 5, 7]),
        ("width < 1e999", [0, 1, 2, 4, 5, 6, 7]),
        ("width = 9223372036854775807", [5]),
        ("width = 9223372036854775808", []),
        ('"the ""best""" = TRUE', [0, 3, 5]),
        ("\"camera model\" = 'it''s'", [1]),
        ("CAMERA_MODEL = 'x'", UnknownNameError),
        ("WIDTH = 500", [0]),
        ("größe = 1 OR GRÖSSE = 2 OR gro\u0308ße = 0", [0, 1, 3, 6]),
        ("exif.iso = 100", [0]),
        ("licence = taken", [4]),
        ("width = score", [6]),
        ("licence LIKE 'c%'", [0, 1, 6]),
        ("\"camera model\" LIKE 'é'", []),
        ("licence NOT LIKE 'c__'", [2, 4, 5, 6, 7]),
        ("taken BETWEEN '2024-01-01' AND '2024-12-31'", [1, 2]),
        ("width\u00a0=\u00a0500", [0]),
    ],
)
def test_examples_match_these_rows(text: str, expected: Any):
    if isinstance(expected, list):
        assert matches(text) == expected
    else:
        with pytest.raises(expected):
            parse_filter(text, COLUMNS)


def test_not_binds_closer_than_and_and_and_closer_than_or():
    text = "NOT width = 500 AND score > 0 OR licence = 'CC0'"
    assert matches(text) == matches("((NOT (width = 500)) AND (score > 0)) OR (licence = 'CC0')")
    assert matches(text) == [0, 2, 4, 5]
    assert matches("NOT (width = 500 AND score > 0 OR licence = 'CC0')") == [1, 2, 4, 5, 6, 7]
    assert matches("score > 0 AND (width = 500 OR width = 600)") == [0, 2]
    assert matches("NOT NOT width = 500") == [0]
    assert matches("NOT NOT NOT width < 9e18") == [5]


def test_missing_values_match_neither_a_comparison_nor_its_opposite():
    for condition in ["width > 500", "width IN (1)", "width BETWEEN 0 AND 9", "width = width"]:
        assert 3 not in matches(condition)
        assert 3 not in matches(f"NOT ({condition})")
    assert matches("width IS NULL") == [3]
    assert 3 not in matches("width IS NOT NULL")
    assert matches("width = 500 OR width IS NULL") == [0, 3]


def test_a_name_written_exactly_comes_before_one_of_another_case():
    columns: dict[str, ColumnType] = {"Ä": "integer", "ä": "text"}
    assert parse_filter("ä = '1'", columns).sql == '("ä" = ?)'
    assert parse_filter("Ä = 1", columns).sql == '("Ä" = ?)'
    assert parse_filter('"not" = 1 AND nOt "NULL" = 2', {"not": "real", "null": "real"}) == Filter(
        '("not" = ? AND NOT "null" = ?)', (1, 2)
    )
    with pytest.raises(ConfigError) as error:
        parse_filter("width = 1 AND A\u0308b = 1", {"äB": "real", "ÄB": "real", "width": "real"})
    assert str(error.value) == (
        'where: got \'A\u0308b\' at character 15, expected one of "ÄB", "äB"'
    )


@pytest.mark.parametrize(
    "text",
    [
        "width > 5; DROP TABLE images",
        "width > 5 -- AND score > 0",
        "width /* */ > 5",
        "width > 5) OR (1 = 1",
        "1 = 1",
        "'' = ''",
        "true",
        "licence = '' OR ''=''",
        'licence = "\'; DROP TABLE images"',
        "row > 0",
        "images.width > 5",
        "width IN (SELECT row FROM images)",
        "(SELECT 1) = 1",
        "EXISTS (SELECT 1)",
        "lower(licence) = 'cc0'",
        "licence = lower(licence)",
        "licence = 'a' || 'b'",
        "width + 1 > 5",
        "-width > 5",
        "width > ?",
        "width > :a",
        "licence = x'00'",
        "licence = 'a' COLLATE NOCASE",
        "licence LIKE 'a' ESCAPE '\\'",
        "licence GLOB 'a'",
        "width ISNULL",
        "CASE WHEN width THEN 1 END",
        "CAST(width AS TEXT) = '1'",
        "[width] > 5",
        "`width` > 5",
        "ſcore > 0 AND width Iſ NULL",
        "width > 5 UNION SELECT 1",
        "width > 5 LIMIT 1",
        "width > 0x1F",
        "width > 1_000",
    ],
)
def test_the_rest_of_sql_is_refused(text: str):
    with pytest.raises((ConfigError, UnknownNameError)):
        parse_filter(text, COLUMNS)


def test_a_text_never_becomes_sql():
    text = "'; DROP TABLE images; --"
    found = parse_filter("licence = '" + text.replace("'", "''") + "'", COLUMNS)
    assert found == Filter('("licence" = ?)', (text,))
    odd: dict[str, ColumnType] = {'" OR 1 = 1 --': "integer"}
    assert parse_filter('""" OR 1 = 1 --" = 3', odd).sql == '(""" OR 1 = 1 --" = ?)'


OPERATORS = "expected an operator: =, !=, <, <=, >, >=, IN, BETWEEN, LIKE or IS"
VALUE = "expected a number or a text in single quotes"
CONDITION = "expected a condition as width > 500"
LIST = 'Größe, camera model, exif.iso, licence, score, taken, the "best", width'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"where: got an empty text, {CONDITION}"),
        (" \n", f"where: got an empty text, {CONDITION}"),
        ("width > 5 AN", "where: got 'AN' at character 11, expected AND, OR or the end"),
        ("width > 5)", "where: got ')' at character 10, expected AND, OR or the end"),
        ("(width > 5", "where: got the end, expected AND, OR or )"),
        ("(width > 5 AN", "where: got 'AN' at character 12, expected AND, OR or )"),
        ("width > 5; x", "where: got ';' at character 10, expected AND, OR or the end"),
        ("width > 5 --", "where: got '--' at character 11, expected AND, OR or the end"),
        ("width = abs(1)", "where: got '(' at character 12, expected AND, OR or the end"),
        ("(width = abs(1))", "where: got '(' at character 13, expected AND, OR or )"),
        ("width", f"where: got the end, {OPERATORS}"),
        ("abs(width) > 1", f"where: got '(' at character 4, {OPERATORS}"),
        (
            "camera model = 'a'",
            f"where: got 'model' at character 8, {OPERATORS}; "
            "a name with blanks is in double quotes",
        ),
        ("width > 5 AND", f"where: got the end, {CONDITION}"),
        ("AND width > 5", f"where: got 'AND' at character 1, {CONDITION}"),
        ("width > 500px", f"where: got '500px' at character 9, {VALUE}"),
        ("width = (5)", f"where: got '(' at character 9, {VALUE}"),
        ("licence = ‘a’", f"where: got '‘' at character 11, {VALUE}"),
        ("width >", f"where: got the end, {VALUE}"),
        ("width IN ()", f"where: got ')' at character 11, {VALUE}"),
        ("width IN 5", "where: got 5 at character 10, expected ( and values"),
        ("width IN (5 6)", "where: got 6 at character 13, expected , or )"),
        ("width BETWEEN 5", "where: got the end, expected AND and the upper bound"),
        ("width BETWEEN 5 AND score", f"where: got 'score' at character 21, {VALUE}"),
        ("width NOT = 5", "where: got '=' at character 11, expected IN, BETWEEN or LIKE"),
        ("width NOT IS NULL", "where: got 'IS' at character 11, expected IN, BETWEEN or LIKE"),
        ("width IS 5", "where: got 5 at character 10, expected NULL or NOT NULL"),
        ("width IS NOT 5", "where: got 5 at character 14, expected NULL"),
        (
            "width = null",
            "where: got 'null' at character 9, expected IS NULL or IS NOT NULL for missing values",
        ),
        ("'it''s", "where: got a ' at character 1, expected another ' that ends its text"),
        ('"it""s', 'where: got a " at character 1, expected another " that ends its text'),
        (
            "'width' > 5",
            "where: got 5 at character 11, expected a column, without quotes or in double ones",
        ),
        ("width = 'a\nb'", "where: got 'a\\nb' at character 9 for 'width', expected a number"),
        ("score IN (1, '')", "where: got '' at character 14 for 'score', expected a number"),
        ("licence = 5", "where: got 5 at character 11 for 'licence', expected a text: '5'"),
        ("-1 < licence", "where: got -1 at character 1 for 'licence', expected a text: '-1'"),
        ("taken = TRUE", "where: got TRUE at character 9 for 'taken', expected a text: 'TRUE'"),
        (
            "width like '5%'",
            "where: got 'like' at character 7 for 'width' of type integer, "
            "expected a column of type text",
        ),
        (
            "width = licence",
            "where: got 'licence' at character 9 of type text, "
            "expected a column of type integer as 'width'",
        ),
        ("a\x00", "where: got '\\x00' at character 2, expected Unicode text without NUL"),
        ("\udcff", "where: got '\\udcff' at character 1, expected Unicode text without NUL"),
        ("widht > 5", "unknown column in where 'widht': did you mean 'width'?"),
        ("5 < widht", "unknown column in where 'widht': did you mean 'width'?"),
        ("zzz = 5", f"unknown column in where 'zzz': known: {LIST}"),
        (
            'licence = "XYZ"',
            f"unknown column in where 'XYZ': known: {LIST}; texts are in single quotes",
        ),
        (
            f"licence = {'9' * 100}",
            f"where: got {'9' * 57}... at character 11 for 'licence', "
            f"expected a text: '{'9' * 57}...'",
        ),
    ],
)  # fmt: skip
def test_messages(text: str, message: str):
    with pytest.raises((ConfigError, UnknownNameError)) as error:
        parse_filter(text, COLUMNS)
    assert str(error.value) == message


def deepest(levels: int) -> str:
    """Parentheses with as much before each as SQLite's parser can have to keep."""
    return "width = 1 OR width = 1 AND NOT (" * levels + "width NOT IN (1, 2)" + ")" * levels


def many(count: int) -> str:
    return " OR NOT ".join(["width NOT BETWEEN 1 AND 2"] * (count - 1)) + " OR width = 600"


def values(count: int) -> str:
    return f"width IN ({', '.join(map(str, range(600, 600 + count)))})"


def like_of(count: int) -> str:
    return f"licence LIKE '{'😀%' * (count // 2)}'"


@pytest.mark.parametrize(
    ("make", "most", "message"),
    [
        (deepest, MAX_NESTING, "parentheses 9 deep at character 288, expected at most 8"),
        (many, MAX_CONDITIONS, "over 200 comparisons, expected at most 200; IN takes more"),
        (values, MAX_VALUES, "over 30,000 values, expected at most 30,000"),
        (
            like_of,
            MAX_PATTERN_CHARACTERS,
            "10,002 characters in a pattern, expected at most 10,000",
        ),
    ],
)
def test_sqlite_takes_as_much_as_is_allowed(make: Callable[[int], str], most: int, message: str):
    matches(make(most))
    with pytest.raises(ConfigError, match=f"^where: got {re.escape(message)}$"):
        parse_filter(make(most + (2 if make is like_of else 1)), COLUMNS)


def test_the_deepest_parentheses_take_as_many_comparisons_as_others():
    text = deepest(MAX_NESTING)
    left = MAX_CONDITIONS - text.count("width")
    assert matches(text + " OR NOT licence LIKE 'a'" * left) == matches("licence IS NOT NULL")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000 + "width = 1" + ")" * 5_000,
        "NOT (" * 5_000,
        "width = " + "(" * 5_000,
        "x" * 500_000 + " = 1",
        "width = " + "9" * 500_000 + "x",
        "width = 'x" + "''" * 400_000,
        "licence = " + "1" * 500_000,
        "width > 5 " * 50_000,
        "a" * (MAX_CHARACTERS + 1),
    ],
    ids=range(9),
)
def test_huge_texts_are_refused_in_a_short_line(text: str):
    with pytest.raises((ConfigError, UnknownNameError)) as error:
        parse_filter(text, COLUMNS)
    assert len(str(error.value)) < 300


def test_huge_texts_that_are_conditions_run():
    assert matches("NOT " * 20_000 + "width = 500") == [0]
    assert matches("width = " + "0" * 500_000 + "500") == [0]
    assert matches("width < " + "9" * 500_000) == matches("width IS NOT NULL")
    assert matches("licence = '" + "''" * 400_000 + "'") == []
