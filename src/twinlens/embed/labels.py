"""What images are told apart by: words, each of them once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from twinlens.errors import DataError


class Reader(Protocol):
    """What tells whether two labels are the same for a model: its tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...


def grouped_labels(labels: Sequence[str], tokenizer: Reader | None = None) -> dict[str, list[str]]:
    """The labels without blanks around them, each once, with those that say the same again.

    One that is there twice would share its probability with itself.

    Args:
        labels: What to choose from.
        tokenizer: The model's: what it reads alike is the same. Most make no difference of case.

    Raises:
        DataError: There is none, or one is empty.
    """
    names = [label.strip() for label in labels]
    if not names:
        raise DataError("labels: got none, expected at least one")
    if "" in names:
        raise DataError(f"labels: number {names.index('') + 1} is empty, expected a word or more")
    groups: dict[Hashable, list[str]] = {}
    for name in names:
        key = name if tokenizer is None else tuple(tokenizer.encode(name))
        groups.setdefault(key, []).append(name)
    return {first: others for first, *others in groups.values()}


def checked_labels(labels: Sequence[str], tokenizer: Reader | None = None) -> list[str]:
    """The labels of `grouped_labels`: each once, as it is written the first time."""
    return list(grouped_labels(labels, tokenizer))
