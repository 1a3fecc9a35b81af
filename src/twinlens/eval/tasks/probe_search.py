"""The paper's linear probe: how good features are for a classifier fitted to many or few labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float, Int

from twinlens.embed.probe import ITERATIONS, Probe, Regression, check
from twinlens.errors import DataError, ShapeError, require
from twinlens.eval.metrics.classification import accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.types import Count

STEPS_A_DECADE = 8
"""Resolution of the search for a strength (paper appendix A.3)."""

STRENGTHS = tuple(10.0 ** (step / STEPS_A_DECADE) for step in range(-48, 49))
"""1e-6 to 1e6 in 96 logarithmic steps: all that the search can choose."""

SEARCH_TOLERANCE = 1e-6
"""Of a fit that only chooses a strength, nats a sample: scikit-learn's own fits are further off."""

ONE_SHOT_STRENGTH = 1.0
"""Where there is one sample a class none can be held out to choose a strength."""

_FOLDS = 4
"""Parts that few shots are divided into to choose a strength, if there are so many shots."""

_COARSE = 2 * STEPS_A_DECADE
_MOST_FITS = 7 + 2 * 4 + 1
"""Coarse steps; two neighbours at 1, 1/2, 1/4 and 1/8 of a decade; the last fit."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Features with their classes.

    Attributes:
        features: [sample, feature].
        targets: From 0 to one less than there are classes: [sample].
    """

    features: Float[np.ndarray, "sample feature"]
    targets: Int[np.ndarray, " sample"]

    def __getitem__(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Labelled:
        """The part with these indices, or where this holds."""
        return Labelled(self.features[which], self.targets[which])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """A strength that was chosen, and what was tried.

    Attributes:
        strength: The best on the validation set; of several the strongest.
        tried: Accuracy on the validation set by strength, in the order of the strengths.
        probe: Fitted to training and validation sets together with the best.
        unconverged: Strengths whose fit took all its iterations and was not at its optimum.
    """

    strength: float
    tried: dict[float, float]
    probe: Probe
    unconverged: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShot:
    """What a probe of a few samples a class can do.

    Attributes:
        shots: Samples a class.
        seed: That drew them.
        accuracy: On the test set.
        strength: Of the regularisation.
        converged: Whether the fit got to its optimum.
    """

    shots: int
    seed: int
    accuracy: float
    strength: float
    converged: bool


def _silent(done: int, total: int, what: str = "") -> None: ...


def probe_accuracy(probe: Probe, test: Labelled) -> float:
    """Fraction of samples that the probe puts in their class."""
    predicted = probe.predict_logits(test.features).argmax(axis=1)
    return accuracy(predicted[:, None], test.targets)


def sweep(
    train: Labelled,
    validation: Labelled,
    classes: int,
    *,
    iterations: int = ITERATIONS,
    progress: Count = _silent,
) -> Sweep:
    """Choose a strength on a validation set, and fit to all with it (paper appendix A.3).

    Fits with 1e6, 1e4, ..., 1e-6 come first. Then the interval around the best is halved, four
    times, to 8 steps a decade: 16 fits at most for 97 possible strengths. Of equally accurate ones
    the strongest is the best. Each fit begins where that with the nearest strength ended.

    Args:
        train: To be fitted to; each class at least once.
        validation: To choose on.
        classes: How many there are.
        iterations: Of each fit, at most.
        progress: Told how many fits are done, of at most how many.

    Raises:
        ConfigError: There are fewer than two classes.
        DataError: A set is empty, a target is no class, a class has no samples to train on, or a
            feature is not finite.
        ShapeError: There is not one target a sample, or sets differ in their features.
    """
    for one in (train, validation):
        check(one.features, one.targets, classes)
    both = _joined(train, validation)
    fits: dict[float, Sequence[Probe]] = {}
    tried = _searched([(train, validation)], classes, fits, iterations, progress)
    best = strongest_of_best(tried)
    progress(_MOST_FITS - 1, _MOST_FITS, "the last fit")
    probe = Regression(both.features, both.targets, classes).fit(
        best, start=fits[best][0], iterations=iterations
    )
    progress(_MOST_FITS, _MOST_FITS)
    return Sweep(
        strength=best,
        tried=tried,
        probe=probe,
        unconverged=tuple(strength for strength in tried if not fits[strength][0].converged),
    )


def few_shot(
    train: Labelled,
    test: Labelled,
    classes: int,
    *,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: Sequence[int] = range(5),
    iterations: int = ITERATIONS,
    progress: Count = _silent,
) -> list[FewShot]:
    """How accurate probes of a few samples a class are (paper section 3.1.2, figure 6).

    No more than the drawn samples is used: the strength is chosen as `sweep` does, by the accuracy
    on each quarter of them when fitted to the others (on each half or third of 2 or 3 shots). For
    1 shot it is `ONE_SHOT_STRENGTH`.

    Args:
        train: Samples to draw from.
        test: To measure on.
        classes: How many there are.
        shots: Samples a class.
        seeds: Each draws anew; what a seed draws for fewer shots is part of what it draws for more.
        iterations: Of each fit, at most.
        progress: Told how many draws are done, of how many.

    Returns:
        One for each number of shots and seed, in their order.

    Raises:
        ConfigError: There are fewer than two classes, or less than one shot is asked for.
        DataError: A class has fewer samples than are asked for, a set is empty, a target is no
            class, or a feature is not finite.
        ShapeError: There is not one target a sample, or sets differ in their features.
    """
    for one in (train, test):
        check(one.features, one.targets, classes)
    _check_alike(train, test)
    # All are drawn before the first is fitted: what is missing is said at once.
    draws = {
        (k, seed): draw_shots(train.targets, classes, shots=k, seed=seed)
        for k in shots
        for seed in seeds
    }
    results: list[FewShot] = []
    for (k, seed), drawn in draws.items():
        progress(len(results), len(draws), f"{k} a class, seed {seed}")
        strength = _cross_validated(train, drawn, classes, iterations)
        few = train[drawn.ravel()]
        probe = Regression(few.features, few.targets, classes).fit(strength, iterations=iterations)
        result = FewShot(
            shots=k,
            seed=seed,
            accuracy=probe_accuracy(probe, test),
            strength=strength,
            converged=probe.converged,
        )
        results.append(result)
    progress(len(results), len(draws))
    return results


def draw_shots(
    targets: Int[np.ndarray, " sample"], classes: int, *, shots: int, seed: int
) -> Int[np.ndarray, "shot class"]:
    """Indices of samples, so many of each class; fewer shots are the first rows of more.

    Raises:
        ConfigError: Less than one shot is asked for.
        DataError: A class has fewer samples.

    Example:
        >>> draw_shots(np.array([0, 1, 1, 0]), 2, shots=2, seed=0).shape
        (2, 2)
    """
    require(shots >= 1, "shots", shots, "at least 1")
    order = np.random.default_rng(seed).permutation(len(targets))
    drawn = [order[targets[order] == number][:shots] for number in range(classes)]
    for number, indices in enumerate(drawn):
        if len(indices) < shots:
            raise DataError(
                f"class {number}: got {len(indices)} samples, expected at least {shots}"
            )
    return np.stack(drawn, axis=1)


def search(score: Callable[[float], float]) -> dict[float, float]:
    """The paper's search: which strengths it tries, with the score of each, in their order.

    Example:
        >>> tried = search(lambda strength: -abs(np.log10(strength) - 1.1))
        >>> round(strongest_of_best(tried), 2), len(tried)
        (13.34, 15)
    """
    middle = len(STRENGTHS) // 2
    coarse = range(-middle, middle + 1, _COARSE)
    # From the strongest on: the stronger, the sooner fitted, and each fit helps the next.
    tried = {step: score(STRENGTHS[middle + step]) for step in reversed(coarse)}
    distance = _COARSE
    while distance > 1:
        distance //= 2
        best = strongest_of_best(tried)
        for step in (best + distance, best - distance):
            if abs(step) <= middle and step not in tried:
                tried[step] = score(STRENGTHS[middle + step])
    return {STRENGTHS[middle + step]: tried[step] for step in sorted(tried)}


_Number = TypeVar("_Number", int, float)


def strongest_of_best(tried: Mapping[_Number, float]) -> _Number:
    """The strength with the best score; of several the strongest."""
    return max(tried, key=lambda strength: (tried[strength], strength))


def _searched(
    folds: Sequence[tuple[Labelled, Labelled]],
    classes: int,
    fits: dict[float, Sequence[Probe]],
    iterations: int,
    progress: Count = _silent,
) -> dict[float, float]:
    """The accuracy over all folds by strength; `fits` gets the probes, one a fold."""
    regressions = [Regression(train.features, train.targets, classes) for train, _ in folds]

    def score(strength: float) -> float:
        progress(len(fits), _MOST_FITS, f"strength {strength:.3g}")
        near = min(fits, key=lambda other: abs(np.log(other / strength)), default=None)
        starts = [None] * len(folds) if near is None else fits[near]
        fits[strength] = [
            regression.fit(strength, start=start, iterations=iterations, tolerance=SEARCH_TOLERANCE)
            for regression, start in zip(regressions, starts, strict=True)
        ]
        held = zip(fits[strength], folds, strict=True)
        right = sum(probe_accuracy(probe, part) * len(part.targets) for probe, (_, part) in held)
        return right / sum(len(part.targets) for _, part in folds)

    return search(score)


def _cross_validated(
    train: Labelled, drawn: Int[np.ndarray, "shot class"], classes: int, iterations: int
) -> float:
    """The strength that is best for the drawn samples, by themselves."""
    if len(drawn) == 1:
        return ONE_SHOT_STRENGTH
    count = min(len(drawn), _FOLDS)
    fold = np.arange(len(drawn)) % count
    folds = [
        (train[drawn[fold != part].ravel()], train[drawn[fold == part].ravel()])
        for part in range(count)
    ]
    return strongest_of_best(_searched(folds, classes, {}, iterations))


def _joined(one: Labelled, other: Labelled) -> Labelled:
    _check_alike(one, other)
    return Labelled(
        np.concatenate([one.features, other.features]),
        np.concatenate([one.targets, other.targets]),
    )


def _check_alike(one: Labelled, other: Labelled) -> None:
    """Make sure that both sets have the same features."""
    if one.features.shape[1] != other.features.shape[1]:
        raise ShapeError(
            f"features: got {other.features.shape[1]} a sample, "
            f"expected {one.features.shape[1]} as in the training set"
        )
