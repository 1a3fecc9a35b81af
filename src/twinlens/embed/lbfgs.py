"""L-BFGS (Nocedal 1980) for smooth convex functions that are never negative, in float32."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEMORY = 10
"""Steps that the next direction is made of."""

_DECREASE, _CURVATURE = 1e-4, 0.9
"""Of the slope: how much of what it promises a step must bring, and how much may be left of it."""

_ROUNDING = 1e-7
"""Of the value: what two sums of the same float32 numbers may differ by."""

_SHARE = 1e-3
"""Of the value: what may be left to gain at most, where a sum is near its least, 0."""

_TRIALS = 30
"""Steps tried along one direction."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A place with the function's value and gradient there."""

    place: NDArray[np.float32]
    value: float
    gradient: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """The best place that was found.

    Attributes:
        place: Of the shape of the start.
        iterations: Steps taken.
        converged: Whether no more than the tolerance was to be gained there.
    """

    place: NDArray[np.float32]
    iterations: int
    converged: bool


_Objective: TypeAlias = "Callable[[NDArray[np.float32]], tuple[float, NDArray[np.float32]]]"
_Pairs: TypeAlias = "deque[tuple[NDArray[np.float32], NDArray[np.float32], float]]"


def minimise(
    objective: _Objective, start: NDArray[np.float32], *, tolerance: float, iterations: int
) -> Minimum:
    """Go down until the next step promises less than the tolerance.

    What it promises is half its slope: for a quadratic function that is what lies between here and
    the minimum, and nothing depends on how the variables are scaled. Where the value itself nears
    0, its least, a thousandth of it is the tolerance.

    Args:
        objective: Gives value and gradient at a place. Variables should be scaled so that its
            second derivatives are near one: the first step is as long as the gradient.
        start: Where to begin.
        tolerance: In the units of the value.
        iterations: At most so many steps.

    Example:
        >>> bowl = lambda place: (float(place @ place) / 2, place)
        >>> minimise(bowl, np.ones(2, np.float32), tolerance=1e-9, iterations=9).place.tolist()
        [0.0, 0.0]
    """
    here = Point(start, *objective(start))
    pairs: _Pairs = deque(maxlen=_MEMORY)
    for done in range(iterations):
        direction = _direction(here.gradient, pairs)
        if _gain(here, direction) < _enough(here, tolerance):
            return Minimum(here.place, done, converged=True)
        following = _step(objective, here, direction)
        if following is None and not pairs:  # what is left to gain is lost in rounding
            return Minimum(here.place, done, converged=False)
        if following is None:
            pairs.clear()
            continue
        step, change = following.place - here.place, following.gradient - here.gradient
        if (bend := _dot(step, change)) > 0:
            pairs.append((step, change, bend))
        here = following
    gain = _gain(here, _direction(here.gradient, pairs))
    return Minimum(here.place, iterations, converged=gain < _enough(here, tolerance))


def _gain(here: Point, direction: NDArray[np.float32]) -> float:
    return -_dot(here.gradient, direction) / 2


def _enough(here: Point, tolerance: float) -> float:
    return min(tolerance, _SHARE * here.value)


def _dot(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.vdot(one, other))


def _direction(gradient: NDArray[np.float32], pairs: _Pairs) -> NDArray[np.float32]:
    """Newton's, with the second derivatives that the last steps met: the two-loop recursion."""
    direction = -gradient
    parts: list[float] = []
    for step, change, bend in reversed(pairs):
        parts.append(_dot(step, direction) / bend)
        direction -= parts[-1] * change
    if pairs:
        _, change, bend = pairs[-1]
        direction *= bend / _dot(change, change)
    for (step, change, bend), part in zip(pairs, reversed(parts), strict=True):
        direction += (part - _dot(change, direction) / bend) * step
    return direction


def _step(objective: _Objective, here: Point, direction: NDArray[np.float32]) -> Point | None:
    """A step that meets the Wolfe conditions, by doubling and halving; None if there is none.

    Where values differ by no more than rounding the slope tells whether it went down (Hager and
    Zhang 2005, the approximate conditions).
    """
    slope = _dot(here.gradient, direction)
    length, low, high = 1.0, 0.0, np.inf
    for _ in range(_TRIALS):
        place = direction * length
        place += here.place
        there = Point(place, *objective(place))
        slope_there = _dot(there.gradient, direction)
        lower = there.value <= here.value + _DECREASE * length * slope
        level = there.value <= here.value + _ROUNDING * abs(here.value)
        if not (lower or (level and slope_there <= (2 * _DECREASE - 1) * slope)):
            high = length
        elif slope_there < _CURVATURE * slope:
            low = length
        else:
            return there
        length = 2 * length if np.isinf(high) else (low + high) / 2
    return None
