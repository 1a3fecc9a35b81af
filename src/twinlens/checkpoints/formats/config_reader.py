"""Other people's configurations, read key by key: each is understood, idle, or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from twinlens.errors import CheckpointError

ValueT = TypeVar("ValueT")


class Section:
    """A table of a configuration; what is taken from it is gone, and what is left is refused.

    Every method that reads a key raises `CheckpointError` for a value that it does not allow.
    """

    def __init__(self, name: str, data: object) -> None:
        if not isinstance(data, Mapping):
            raise CheckpointError(f"{name}: got {data!r}, expected a table")
        self.name = name
        self._left = dict(cast("Mapping[str, Any]", data))

    def error(self, key: str, got: object, expected: str) -> CheckpointError:
        """What is wrong with a key."""
        return CheckpointError(f"{self.name}.{key}: got {got!r}, expected {expected}")

    def rest(self) -> Mapping[str, Any]:
        """All that was not taken."""
        return self._left

    def peek(self, key: str) -> Any:
        """A value that stays; None if it is missing."""
        return self._left.get(key)

    def take(self, key: str, default: object = None) -> Any:
        """Any value."""
        return self._left.pop(key, default)

    def section(self, key: str) -> Section:
        """A table, empty where the key is missing or null."""
        data = self.take(key)
        return Section(f"{self.name}.{key}", {} if data is None else data)

    def whole(self, key: str, default: int | None, *, least: int = 1) -> int:
        """A whole number; one must be there where the default is None."""
        value = self.take(key, default)
        if type(value) is not int or value < least:
            raise self.error(key, value, f"a whole number from {least}")
        return value

    def real(self, key: str, default: float) -> float:
        """A positive number."""
        value = self.take(key, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise self.error(key, value, "a positive number")
        return float(value)

    def square(self, key: str, default: int) -> int:
        """The side of a square, given once or twice."""
        value = self.take(key, default)
        sides = value if isinstance(value, list) and len(value) == 2 else [value, value]
        if type(sides[0]) is not int or sides[0] < 1 or sides[0] != sides[1]:
            raise self.error(key, value, "the side of a square in pixels")
        return sides[0]

    def flag(self, key: str) -> bool:
        """Whether a key is there and true."""
        value = self.take(key, False)
        if type(value) is not bool:
            raise self.error(key, value, "true or false")
        return value

    def choice(self, key: str, default: str, meanings: Mapping[str, ValueT]) -> ValueT:
        """What a word means."""
        value = self.take(key, default)
        if type(value) is not str or value not in meanings:
            raise self.error(key, value, f"one of {', '.join(meanings)}")
        return meanings[value]

    def only(self, key: str, default: object, *allowed: object) -> None:
        """Refuse what asks for a part that twinlens has not got."""
        value = self.take(key, default)
        if value not in allowed:
            raise self.error(key, value, " or ".join(map(repr, allowed)))

    def finish(self, *idle: str) -> None:
        """Refuse what is left, apart from keys that change no number."""
        for key, value in self._left.items():
            if key not in idle:
                raise self.error(key, value, "no such key: twinlens does not know what it changes")
