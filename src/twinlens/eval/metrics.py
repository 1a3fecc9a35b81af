"""Measures of classification and how sure they are: pure functions of arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from twinlens.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""A normal variable lies within this many standard deviations 95 times in 100."""


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The `k` best candidates of each row, best first: int64 [row, k].

    Raises:
        ShapeError: There are fewer than `k` candidates.

    Example:
        >>> top_k(np.array([[0.1, 0.9, 0.5]], np.float32), 2).tolist()
        [[1, 2]]
    """
    if scores.shape[1] < k:
        raise ShapeError(f"candidates: got {scores.shape[1]}, expected at least k={k}")
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def accuracy(ranked: Int[np.ndarray, "sample k"], targets: Int[np.ndarray, " sample"]) -> float:
    """Fraction of samples whose class is among those ranked for it (acc1 for k=1, acc5 for k=5).

    Example:
        >>> accuracy(np.array([[1, 2], [0, 2]]), np.array([2, 1]))
        0.5
    """
    return float((ranked == targets[:, None]).any(axis=1).mean())


def recall_per_class(
    predicted: Int[np.ndarray, " sample"], targets: Int[np.ndarray, " sample"], classes: int
) -> tuple[Float[np.ndarray, " class"], Int[np.ndarray, " class"]]:
    """Each class's fraction of its samples that were predicted as it, and how many it has.

    Classes without samples have recall nan.

    Example:
        >>> recall, samples = recall_per_class(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
        >>> recall.tolist(), samples.tolist()
        ([0.5, 1.0], [2, 1])
    """
    samples = np.bincount(targets, minlength=classes)
    right = np.bincount(targets[predicted == targets], minlength=classes)
    with np.errstate(invalid="ignore"):
        return right / samples, samples


def sign_test(gained: int, lost: int) -> float:
    """How likely two equally good models differ by so much on the same samples, in [0, 1].

    McNemar's exact test: samples that both get right or both wrong say nothing, the others are
    thrown coins.

    Args:
        gained: Samples that only one of the models gets right.
        lost: Those that only the other does.

    Example:
        >>> sign_test(9, 1)
        0.021484375
    """
    tosses, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(tosses, heads) for heads in range(fewer + 1))
    return min(1.0, 2 * tail / 2**tosses)


def wilson_interval(fraction: float, samples: int) -> tuple[float, float]:
    """The 95% interval of a fraction measured on independent samples (Wilson 1927).

    Unlike the usual plus-or-minus it stays in [0, 1] and holds for fractions near the ends and
    for few samples.

    Example:
        >>> low, high = wilson_interval(0.5, 100)
        >>> round(low, 4), round(high, 4)
        (0.4038, 0.5962)
    """
    if samples == 0:
        return 0.0, 1.0
    weight = Z_95**2 / samples
    centre = (fraction + weight / 2) / (1 + weight)
    spread = fraction * (1 - fraction) / samples + weight / (4 * samples)
    half = Z_95 * math.sqrt(spread) / (1 + weight)
    # Rounding must not push an end past the fraction itself.
    return min(fraction, max(0.0, centre - half)), max(fraction, min(1.0, centre + half))
