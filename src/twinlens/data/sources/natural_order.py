"""The order of names that hold numbers: 2 before 10, in every reader."""

from __future__ import annotations

import re

_Piece = tuple[str | tuple[int, str], ...]

NaturalKey = tuple[tuple[tuple[_Piece, ...], int, str], ...]

_NUMBER = re.compile(r"([0-9]+)")


def natural_key(name: str) -> NaturalKey:
    """A key to sort names and paths by, so that their numbers count as numbers.

    Equal numbers of different widths are ordered by width: 1, 01, 001. A name comes before those
    that go on, whatever its ending: `a.png`, `a2.png`.

    Example:
        >>> sorted(["10", "9", "n2.png", "n10.png", "n.png"], key=natural_key)
        ['9', '10', 'n.png', 'n2.png', 'n10.png']
    """
    return tuple((tuple(map(_piece, part.split("."))), len(part), part) for part in name.split("/"))


def _piece(text: str) -> _Piece:
    """Text and digits in turns, text first (perhaps empty): like is compared with like."""
    return tuple(
        _digits(one) if place % 2 else one  # digits are at the odd places
        for place, one in enumerate(_NUMBER.split(text))
    )


def _digits(text: str) -> tuple[int, str]:
    # Its length and its digits, not an int: Python refuses to convert thousands of digits.
    value = text.lstrip("0")
    return len(value), value
