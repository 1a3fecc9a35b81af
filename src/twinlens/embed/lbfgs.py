"""L-BFGS (Nocedal 1980) for smooth convex functions that are never negative, in float32."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HISTORY_SIZE = 10
"""Last steps that the search direction is computed from."""

_SUFFICIENT_DECREASE, _CURVATURE = 1e-4, 0.9
"""Constants of the Wolfe conditions, as fractions of the slope."""

_ROUNDING_TOLERANCE = 1e-7
"""Relative difference that two sums of the same float32 numbers may have."""

_RELATIVE_TOLERANCE = 1e-3
"""Fraction of the value that may be left to gain, where a sum is near its minimum, 0."""

_MAX_LINE_SEARCH_STEPS = 30
"""Step lengths tried along one direction."""


@dataclass(frozen=True, slots=True, eq=False)
class _Iterate:
    """A point with the function's value and gradient there."""

    x: NDArray[np.float32]
    value: float
    gradient: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class MinimiseResult:
    """The best point that was found.

    Attributes:
        x: The point, of the shape of `initial`.
        converged: True if no more than the tolerance was left to gain there.
    """

    x: NDArray[np.float32]
    converged: bool


_Objective: TypeAlias = "Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float32]]]"
_History: TypeAlias = "deque[tuple[NDArray[np.float32], NDArray[np.float32], float]]"


def minimise(
    objective: _Objective, initial: NDArray[np.float32], *, tolerance: float, max_iterations: int
) -> MinimiseResult:
    """Minimise a function until the expected decrease is less than the tolerance.

    The expected decrease is half the slope along the next step: for a quadratic function that is
    the distance to the minimum, and it does not depend on how the variables are scaled. Where the
    value itself nears 0, its minimum, a thousandth of it is the tolerance.

    Args:
        objective: Gives value and gradient at a point. Variables should be scaled so that its
            second derivatives are near one: the first step is as long as the gradient.
        initial: The point to begin at.
        tolerance: In the units of the value.
        max_iterations: Steps at most.

    Example:
        >>> bowl = lambda x: (float(x @ x) / 2, x)
        >>> minimise(bowl, np.ones(2, np.float32), tolerance=1e-9, max_iterations=9).x.tolist()
        [0.0, 0.0]
    """
    here = _Iterate(initial, *objective(initial))
    pairs: _History = deque(maxlen=_HISTORY_SIZE)
    for _ in range(max_iterations):
        direction = _search_direction(here.gradient, pairs)
        if _expected_decrease(here, direction) < _stopping_tolerance(here, tolerance):
            return MinimiseResult(here.x, converged=True)
        following = _line_search(objective, here, direction)
        if following is None and not pairs:  # what is left to gain is lost in rounding
            return MinimiseResult(here.x, converged=False)
        if following is None:
            pairs.clear()
            continue
        step, change = following.x - here.x, following.gradient - here.gradient
        if (curvature := _dot(step, change)) > 0:
            pairs.append((step, change, curvature))
        here = following
    gain = _expected_decrease(here, _search_direction(here.gradient, pairs))
    return MinimiseResult(here.x, converged=gain < _stopping_tolerance(here, tolerance))


def _expected_decrease(current: _Iterate, direction: NDArray[np.float32]) -> float:
    return -_dot(current.gradient, direction) / 2


def _stopping_tolerance(current: _Iterate, tolerance: float) -> float:
    return min(tolerance, _RELATIVE_TOLERANCE * current.value)


def _dot(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.vdot(one, other))


def _search_direction(gradient: NDArray[np.float32], history: _History) -> NDArray[np.float32]:
    """Newton's direction, with second derivatives from the last steps: the two-loop recursion."""
    direction = -gradient
    parts: list[float] = []
    for step, change, curvature in reversed(history):
        parts.append(_dot(step, direction) / curvature)
        direction -= parts[-1] * change
    if history:
        _, change, curvature = history[-1]
        direction *= curvature / _dot(change, change)
    for (step, change, curvature), part in zip(history, reversed(parts), strict=True):
        direction += (part - _dot(change, direction) / curvature) * step
    return direction


def _line_search(
    objective: _Objective, current: _Iterate, direction: NDArray[np.float32]
) -> _Iterate | None:
    """Find a step that meets the Wolfe conditions, by doubling and halving; None if there is none.

    Where values differ by no more than rounding the slope decides (Hager and Zhang 2005, the
    approximate conditions).
    """
    slope = _dot(current.gradient, direction)
    length, low, high = 1.0, 0.0, np.inf
    for _ in range(_MAX_LINE_SEARCH_STEPS):
        x = direction * length
        x += current.x
        there = _Iterate(x, *objective(x))
        slope_there = _dot(there.gradient, direction)
        lower = there.value <= current.value + _SUFFICIENT_DECREASE * length * slope
        level = there.value <= current.value + _ROUNDING_TOLERANCE * abs(current.value)
        if not (lower or (level and slope_there <= (2 * _SUFFICIENT_DECREASE - 1) * slope)):
            high = length
        elif slope_there < _CURVATURE * slope:
            low = length
        else:
            return there
        length = 2 * length if np.isinf(high) else (low + high) / 2
    return None
