"""Class labels: validation, and ranking by probability."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from twinlens.errors import DataError, ShapeError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.text.base_tokenizer import BaseTokenizer


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its probability among the labels to choose from."""

    label: str
    probability: float


def group_duplicate_labels(
    labels: Sequence[str], tokenizer: BaseTokenizer | None = None
) -> dict[str, list[str]]:
    """Strip labels and group equal ones: the first of each, with its repetitions.

    A label that is there twice would share its probability with itself.

    Args:
        labels: The labels to choose from.
        tokenizer: The model's: labels with the same ids are equal. Most ignore case.

    Raises:
        DataError: There is none, or one is empty.
    """
    names = [label.strip() for label in list_strings("labels", labels)]
    if not names:
        raise DataError("labels: got none, expected at least one")
    if "" in names:
        raise DataError(f"labels: number {names.index('') + 1} is empty, expected a word or more")
    groups: dict[Hashable, list[str]] = {}
    for name in names:
        key = name if tokenizer is None else tuple(tokenizer.encode(name))
        groups.setdefault(key, []).append(name)
    return {first: others for first, *others in groups.values()}


def list_strings(name: str, given: object) -> list[str]:
    """List strings that were given as a sequence.

    Raises:
        DataError: It is a string itself, of which each letter would count as one; a set, which has
            no order; or holds something else.
    """
    if isinstance(given, str | bytes | set | frozenset | Mapping) or not isinstance(
        given, Iterable
    ):
        got = repr(given)[:50] if isinstance(given, str) else f"a {type(given).__name__}"  # pyright: ignore[reportUnknownArgumentType]
        raise DataError(f"{name}: got {got}, expected a list of strings")
    found = list(cast("Iterable[object]", given))
    for number, one in enumerate(found, 1):
        if not isinstance(one, str):
            got = type(one).__name__
            raise DataError(f"{name}: number {number} is a {got}, expected a string")
    return cast("list[str]", found)


def validate_labels(labels: Sequence[str], tokenizer: BaseTokenizer | None = None) -> list[str]:
    """Validate class labels: non-empty and unique, as `group_duplicate_labels` groups them."""
    return list(group_duplicate_labels(labels, tokenizer))


def rank_labels(logits: NDArray[np.floating], labels: Sequence[str]) -> list[list[Prediction]]:
    """Turn logits [image, label] into probabilities, each image's best first.

    Raises:
        ShapeError: They are not one for each label.
        DataError: One is not finite.
    """
    exact = np.asarray(logits, np.float64)
    expected = f"[images, {len(labels)}]"
    is_table = exact.ndim == 2 and exact.shape[1] == len(labels)
    require(is_table, "similarities", list(exact.shape), expected, ShapeError)
    if not np.isfinite(exact).all():
        raise DataError("similarities: got some that are not finite, expected numbers")
    odds = np.exp(exact - exact.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    return [
        [Prediction(labels[int(i)], float(row[i])) for i in np.argsort(-row, kind="stable")]
        for row in probabilities
    ]
