"""Conditions on an index's columns: `--where "width > 500 AND taken >= '2024-01-01'"`.

The text is checked and copied word by word into SQL: column names come from the caller's list,
values become parameters, and all else is one of SQL's own words. AND and OR need no tree, since
they bind in SQLite as they do here.

The limits below keep within those of SQLite, whose errors would name nothing that was written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

import regex

from twinlens.errors import ConfigError, UnknownNameError

ColumnType = Literal["integer", "real", "text"]

MAX_CHARACTERS = 1_000_000
MAX_CONDITIONS = 200
"""Comparisons: each makes SQLite's expression one deeper, and each query around it doubles the
depth, of which SQLite takes 1,000."""

MAX_NESTING = 8
"""Parentheses in parentheses: a level takes up to 6 of the 100 symbols that SQLite's parser keeps,
and the rest is for the query around the filter."""

MAX_VALUES = 30_000
"""SQLite takes 32,766 parameters; the rest is for the query around the filter."""

MAX_PATTERN_CHARACTERS = 10_000
"""SQLite takes patterns of 50,000 bytes, and a character has up to 4."""

_KEYWORDS = {"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS", "NULL"}
_BOOLEANS = {"TRUE": "1", "FALSE": "0"}
_COMPARISONS = {op: op for op in ("=", "!=", "<", "<=", ">", ">=")} | {"==": "=", "<>": "!="}
_EXAMPLE = "a condition as width > 500"
_OPERATOR = "an operator: =, !=, <, <=, >, >=, IN, BETWEEN, LIKE or IS"
_VALUE = "a number or a text in single quotes"
_NULL_TEST = "IS NULL or IS NOT NULL for missing values"
_AFTER_CONDITION = ("AND, OR or the end", "AND, OR or )")

_NUMBER = regex.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_INTEGER = regex.compile(r"[+-]?[0-9]{1,19}")
_TOKEN = regex.compile(
    rf"""
      (?P<space> \s+ )
    | (?P<text> '(?:[^']|'')*+' )
    | (?P<quoted> "(?:[^"]|"")*+" )
    | (?P<number> {_NUMBER.pattern} (?![\p{{L}}\p{{M}}\p{{N}}_.]) )
    | (?P<name> [\p{{L}}_][\p{{L}}\p{{M}}\p{{N}}_.]* )
    | (?P<mark> == | != | <> | <= | >= | [=<>(),] )
    | (?P<other> -- | /\* | [+-]?[\p{{N}}.][\p{{L}}\p{{M}}\p{{N}}_.]* | . )
    """,
    regex.VERBOSE | regex.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition for a WHERE clause of SQLite.

    Attributes:
        sql: A boolean expression in parentheses, with `?` for each parameter; its columns are in
            double quotes.
        parameters: The values in their order.
    """

    sql: str
    parameters: tuple[str | int | float, ...]


def parse_filter(text: str, columns: Mapping[str, ColumnType]) -> Filter:
    """Parse the text of `--where`.

    The grammar is SQL's: `column op value` with `= == != <> < <= > >=` and either side first,
    `column op column`, `[NOT] IN (value, ...)`, `[NOT] BETWEEN value AND value`,
    `[NOT] LIKE 'pattern'` and `IS [NOT] NULL`, joined by AND, OR, NOT and parentheses. Keywords
    have any case. NOT binds closest, then AND, then OR.

    Values are numbers, `true` and `false` for 1 and 0, and texts in single quotes, with `''` for
    a quote in them. Texts compare by their characters' codes, so that dates as
    `2024-01-31T12:00:00` compare by time. In patterns `%` is any text and `_` any character, and
    the case of A to Z does not matter.

    Names of columns are letters, digits, `_` and `.`, or anything in double quotes, with `""` for
    a quote in them. Case does not matter, but a column of exactly that name comes first.

    A missing value (NULL) is neither equal to a value nor different from it: no comparison matches
    it, nor does the comparison's opposite. `NOT (width > 500)` leaves out images without a width,
    and so does `width != 500`; `width != 500 OR width IS NULL` has them.

    Args:
        text: The condition.
        columns: The columns' names and types.

    Returns:
        The condition as SQL that a table with these columns takes.

    Raises:
        UnknownNameError: A column is unknown; near names are suggested.
        ConfigError: The text is no condition, compares values of different types, or is too long.

    Example:
        >>> parse_filter("Width > 500 or model = 'X-T5'", {"width": "integer", "model": "text"})
        Filter(sql='("width" > ? OR "model" = ?)', parameters=(500, 'X-T5'))
    """
    if len(text) > MAX_CHARACTERS:
        _refuse(f"{len(text):,} characters", f"at most {MAX_CHARACTERS:,}")
    if not text.strip():
        _refuse("an empty text", _EXAMPLE)
    bad = regex.search(r"[\x00\ud800-\udfff]", text)
    if bad:
        _refuse(f"{bad[0]!r} at character {bad.start() + 1}", "Unicode text without NUL")
    return _Parser(text, columns).parse()


class _Token(NamedTuple):
    """A word of the text.

    Attributes:
        kind: Booleans are numbers.
        value: Of texts and names: without their quotes. Keywords are in upper case.
        source: As it is in the text.
        place: Of its first character; the text's first is 1.
    """

    kind: Literal["keyword", "name", "text", "number", "mark", "other", "end"]
    value: str
    source: str
    place: int


def _tokens(text: str) -> Generator[_Token]:
    """Split the text into words; the last one is its end."""
    for match in _TOKEN.finditer(text):
        source, place = match[0], match.start() + 1
        upper = source.upper() if source.isascii() else source  # U+017F becomes S
        if match["text"] is not None:
            yield _Token("text", source[1:-1].replace("''", "'"), source, place)
        elif match["quoted"] is not None:
            yield _Token("name", source[1:-1].replace('""', '"'), source, place)
        elif upper in _KEYWORDS:
            yield _Token("keyword", upper, source, place)
        elif match["number"] is not None or upper in _BOOLEANS:
            yield _Token("number", _BOOLEANS.get(upper, source), source, place)
        elif match["name"] is not None:
            yield _Token("name", source, source, place)
        elif match["mark"] is not None:
            yield _Token("mark", source, source, place)
        elif source in {"'", '"'}:
            _refuse(f"a {source} at character {place}", f"another {source} that ends its text")
        elif match["other"] is not None:
            yield _Token("other", source, source, place)
    yield _Token("end", "", "", len(text) + 1)


class _Parser:
    """Recursive descent with one token in view, which writes the SQL as it reads."""

    def __init__(self, text: str, columns: Mapping[str, ColumnType]) -> None:
        self._columns = columns
        self._names_by_key: dict[str, list[str]] = {}
        for name in columns:
            self._names_by_key.setdefault(_name_key(name), []).append(name)
        self._tokens = _tokens(text)
        self._token = next(self._tokens)
        self._conditions = 0
        self._sql: list[str] = []
        self._parameters: list[str | int | float] = []

    def parse(self) -> Filter:
        """Parse the whole text."""
        self._expression(0)
        if self._token.kind != "end":
            _unexpected(self._token, _AFTER_CONDITION[0])
        return Filter(f"({''.join(self._sql)})", tuple(self._parameters))

    def _expression(self, nesting: int) -> None:
        """Terms joined by AND and OR, in `nesting` pairs of parentheses."""
        self._term(nesting)
        while self._token.kind == "keyword" and self._token.value in {"AND", "OR"}:
            self._sql.append(f" {self._take().value} ")
            self._term(nesting)

    def _term(self, nesting: int) -> None:
        """A condition or an expression in parentheses, with NOT before it or without."""
        negated = False
        while self._take_if("NOT"):
            negated = not negated
        if negated:
            self._sql.append("NOT ")
        opening = self._take_if("(")
        if opening is None:
            self._condition(nesting)
            return
        if nesting == MAX_NESTING:
            got = f"parentheses {nesting + 1} deep at character {opening.place}"
            _refuse(got, f"at most {MAX_NESTING}")
        self._sql.append("(")
        self._expression(nesting + 1)
        self._expect(")", _AFTER_CONDITION[1])
        self._sql.append(")")

    def _condition(self, nesting: int) -> None:
        """One comparison."""
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            _refuse(
                f"over {MAX_CONDITIONS} comparisons", f"at most {MAX_CONDITIONS}; IN takes more"
            )
        left = self._take()
        if left.kind not in {"name", "text", "number"}:
            _unexpected(left, _EXAMPLE)
        operator = self._token
        if operator.kind == "mark" and operator.value in _COMPARISONS:
            self._comparison(left, nesting)
        elif left.kind == "name" and operator.kind == "keyword":
            self._keyword_condition(left)
        else:
            hint = "; a name with blanks is in double quotes" * (operator.kind == "name")
            _unexpected(operator, _OPERATOR + hint)

    def _comparison(self, left: _Token, nesting: int) -> None:
        """`left op right`: two columns, or a column and a value."""
        operator = _COMPARISONS[self._take().value]
        right = self._take()
        if right.kind not in {"name", "text", "number"}:
            _unexpected(right, _NULL_TEST if right.value == "NULL" else _VALUE)
        if self._token.value == "(":  # a function, which must not be taken for a column
            _unexpected(self._token, _AFTER_CONDITION[min(nesting, 1)])
        if left.kind == "name":
            column = self._column(left)
            self._sql.append(f"{_quote(column)} {operator} ")
            if right.kind == "name":
                self._same_kind(column, right)
            else:
                self._value(right, column)
            return
        if right.kind != "name":
            _unexpected(right, "a column, without quotes or in double ones")
        column = self._column(right)
        self._value(left, column)
        self._sql.append(f" {operator} {_quote(column)}")

    def _same_kind(self, left: str, token: _Token) -> None:
        """Write the column on the right of another one of its kind."""
        right = self._column(token, is_value=True)
        types = self._columns[left], self._columns[right]
        if (types[0] == "text") != (types[1] == "text"):
            expected = f"a column of type {types[0]} as {left!r}"
            _refuse(f"{_show(token)} of type {types[1]}", expected)
        self._sql.append(_quote(right))

    def _keyword_condition(self, left: _Token) -> None:
        """`column IS NULL`, `column IN (...)`, `column BETWEEN ... AND ...`, `column LIKE ...`."""
        negated = self._take_if("NOT") is not None
        operator = self._take()
        is_keyword = operator.kind == "keyword"
        if is_keyword and operator.value == "IS" and not negated:
            negated = self._take_if("NOT") is not None
            self._expect("NULL", "NULL" if negated else "NULL or NOT NULL")
            self._sql.append(f"{_quote(self._column(left))} IS {'NOT ' * negated}NULL")
            return
        if not is_keyword or operator.value not in {"IN", "BETWEEN", "LIKE"}:
            _unexpected(operator, "IN, BETWEEN or LIKE" if negated else _OPERATOR)
        column = self._column(left)
        self._sql.append(f"{_quote(column)} {'NOT ' * negated}{operator.value} ")
        if operator.value == "IN":
            self._list(column)
        elif operator.value == "BETWEEN":
            self._value(self._take(), column)
            self._expect("AND", "AND and the upper bound")
            self._sql.append(" AND ")
            self._value(self._take(), column)
        else:
            self._pattern(operator, column)

    def _list(self, column: str) -> None:
        """The values of IN in their parentheses."""
        self._expect("(", "( and values")
        self._sql.append("(")
        self._value(self._take(), column)
        while self._take_if(","):
            self._sql.append(", ")
            self._value(self._take(), column)
        self._expect(")", ", or )")
        self._sql.append(")")

    def _pattern(self, like: _Token, column: str) -> None:
        """The pattern of LIKE."""
        if self._columns[column] != "text":
            got = f"{_show(like)} for {column!r} of type {self._columns[column]}"
            _refuse(got, "a column of type text")
        if len(self._token.value) > MAX_PATTERN_CHARACTERS:
            got = f"{len(self._token.value):,} characters in a pattern"
            _refuse(got, f"at most {MAX_PATTERN_CHARACTERS:,}")
        self._value(self._take(), column)

    def _value(self, token: _Token, column: str) -> None:
        """Write a value that is compared with `column`."""
        if token.kind not in {"text", "number"}:
            _unexpected(token, _VALUE)
        if len(self._parameters) == MAX_VALUES:
            _refuse(f"over {MAX_VALUES:,} values", f"at most {MAX_VALUES:,}")
        got = f"{_show(token)} for {column!r}"
        if self._columns[column] == "text":
            if token.kind != "text":
                _refuse(got, f"a text: '{_shorten(token.source)}'")
            self._parameters.append(token.value)
        else:
            if not _NUMBER.fullmatch(token.value):
                _refuse(got, "a number")
            self._parameters.append(_number(token.value))
        self._sql.append("?")

    def _column(self, token: _Token, *, is_value: bool = False) -> str:
        """The column that a name means; `is_value` where it may be a text without quotes."""
        if token.value in self._columns:
            return token.value
        found = self._names_by_key.get(_name_key(token.value), [])
        if len(found) > 1:
            _refuse(_show(token), f"one of {', '.join(map(_quote, sorted(found)))}")
        if found:
            return found[0]
        hint = f"known: {', '.join(sorted(self._columns))}"
        if is_value:
            hint += "; texts are in single quotes"
        raise UnknownNameError(
            "column in where", _shorten(token.value), self._columns, fallback_hint=hint
        )

    def _take(self) -> _Token:
        token = self._token
        if token.kind != "end":
            self._token = next(self._tokens)
        return token

    def _take_if(self, word: str) -> _Token | None:
        """The next token if it is this keyword or mark."""
        is_word = self._token.kind in {"keyword", "mark"} and self._token.value == word
        return self._take() if is_word else None

    def _expect(self, word: str, expected: str) -> None:
        if self._take_if(word) is None:
            _unexpected(self._token, expected)


def _name_key(name: str) -> str:
    """The form in which names are compared: of one case, and of one way to write an accent."""
    return unicodedata.normalize("NFC", name.casefold())


def _quote(column: str) -> str:
    """A column's name as SQL has it."""
    return '"' + column.replace('"', '""') + '"'


def _number(digits: str) -> int | float:
    """An integer where SQLite has it, in 64 bits; else a float."""
    if _INTEGER.fullmatch(digits) and -(2**63) <= int(digits) < 2**63:
        return int(digits)
    return float(digits)


def _shorten(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def _show(token: _Token) -> str:
    """A token and its place, in one line."""
    if token.kind == "end":
        return "the end"
    text = token.value if token.kind == "text" else token.source
    shown = _shorten(text) if token.kind == "number" else repr(_shorten(text))
    return f"{shown} at character {token.place}"


def _unexpected(token: _Token, expected: str) -> NoReturn:
    """Refuse a token."""
    _refuse(_show(token), expected)


def _refuse(got: str, expected: str) -> NoReturn:
    """Refuse the text.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(f"where: got {got}, expected {expected}")
