"""Read foreign configurations key by key: each key is used, ignored by name, or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from twinlens.errors import CheckpointError

ValueT = TypeVar("ValueT")


class ConfigReader:
    """A table of a configuration; keys that are not read are refused at the end.

    Every method that reads a key raises `CheckpointError` for a value that it does not allow.
    """

    def __init__(self, name: str, data: object) -> None:
        if not isinstance(data, Mapping):
            raise CheckpointError(f"{name}: got {data!r}, expected a table")
        self.name = name
        self._unread = dict(cast("Mapping[str, Any]", data))

    def error(self, key: str, got: object, expected: str) -> CheckpointError:
        """An error about a key."""
        return CheckpointError(f"{self.name}.{key}: got {got!r}, expected {expected}")

    def peek(self, key: str) -> Any:
        """Read a value without marking it as read; None if it is missing."""
        return self._unread.get(key)

    def take(self, key: str, default: object = None) -> Any:
        """Read a value of any type."""
        return self._unread.pop(key, default)

    def table(self, key: str) -> ConfigReader:
        """Read a table; empty if the key is missing or null."""
        data = self.take(key)
        return ConfigReader(f"{self.name}.{key}", {} if data is None else data)

    def integer(self, key: str, default: int | None, *, minimum: int = 1) -> int:
        """Read an integer; without a default it is required."""
        value = self.take(key, default)
        if type(value) is not int or value < minimum:
            raise self.error(key, value, f"a whole number from {minimum}")
        return value

    def positive_float(self, key: str, default: float) -> float:
        """Read a positive number."""
        value = self.take(key, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise self.error(key, value, "a positive number")
        return float(value)

    def square_side(self, key: str, default: int) -> int:
        """Read the side of a square, given once or twice."""
        value = self.take(key, default)
        sides = value if isinstance(value, list) and len(value) == 2 else [value, value]
        if type(sides[0]) is not int or sides[0] < 1 or sides[0] != sides[1]:
            raise self.error(key, value, "the side of a square in pixels")
        return sides[0]

    def boolean(self, key: str) -> bool:
        """Read a boolean; False if it is missing."""
        value = self.take(key, False)
        if type(value) is not bool:
            raise self.error(key, value, "true or false")
        return value

    def choice(self, key: str, default: str, choices: Mapping[str, ValueT]) -> ValueT:
        """Read one of several names, and give its value."""
        value = self.take(key, default)
        if type(value) is not str or value not in choices:
            raise self.error(key, value, f"one of {', '.join(choices)}")
        return choices[value]

    def require_one_of(self, key: str, default: object, *allowed: object) -> None:
        """Refuse values that ask for a feature twinlens does not have."""
        value = self.take(key, default)
        if value not in allowed:
            raise self.error(key, value, " or ".join(map(repr, allowed)))

    def require_all_read(self, *ignored: str) -> None:
        """Refuse keys that were not read, apart from those that change no number."""
        for key, value in self._unread.items():
            if key not in ignored:
                raise self.error(key, value, "no such key: twinlens does not know what it changes")
