"""What pictures are told apart by: words, each of them there once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twinlens.errors import DataError


class Reader(Protocol):
    """What tells whether two labels are the same for a model: its tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...


def checked_labels(labels: Sequence[str], tokenizer: Reader | None = None) -> list[str]:
    """The labels without blanks around them.

    Args:
        labels: What to choose from.
        tokenizer: The model's: labels must differ for it too. Most make no difference of case.

    Raises:
        DataError: There is none, one is empty, or one is there twice.
    """
    names = [label.strip() for label in labels]
    if not names:
        raise DataError("labels: got none, expected at least one")
    if "" in names:
        raise DataError(f"labels: number {names.index('') + 1} is empty, expected a word or more")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(f"labels: got {', '.join(map(repr, doubled))} twice, expected each once")
    if tokenizer is not None:
        _check_distinct(names, tokenizer)
    return names


def _check_distinct(names: Sequence[str], tokenizer: Reader) -> None:
    alike: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        alike.setdefault(tuple(tokenizer.encode(name)), []).append(name)
    doubled = [" and ".join(map(repr, same)) for same in alike.values() if len(same) > 1]
    if doubled:
        raise DataError(
            f"labels: got {', '.join(doubled)}, the same for this model, expected each once"
        )
