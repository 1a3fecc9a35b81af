"""The order of names that hold numbers: 2 before 10, in every reader."""

from __future__ import annotations

import re

NaturalKey = tuple[tuple[str | tuple[int, str], ...], int, str]

_NUMBER = re.compile(r"([0-9]+)")


def natural_key(name: str) -> NaturalKey:
    """What to sort names by, so that their numbers count as numbers.

    Equal numbers of different widths are ordered by width: 1, 01, 001.

    Example:
        >>> sorted(["10", "9", "n2", "n10", "n1"], key=natural_key)
        ['9', '10', 'n1', 'n2', 'n10']
    """
    # Text and digits take turns, text first (perhaps empty): like is compared with like. A number
    # is its length and its digits, not an int: Python refuses to convert thousands of digits.
    pieces = _NUMBER.split(name)
    key = tuple(
        _digits(piece) if place % 2 else piece  # digits are at the odd places
        for place, piece in enumerate(pieces)
    )
    return key, len(name), name


def _digits(piece: str) -> tuple[int, str]:
    value = piece.lstrip("0")
    return len(value), value
