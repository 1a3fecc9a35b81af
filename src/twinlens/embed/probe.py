"""The linear probe: logistic regression whose L2 penalty is chosen on samples held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from twinlens.embed.logistic_regression import (
    MAX_ITERATIONS,
    LinearProbe,
    LogisticRegressionSolver,
    check_labelled_features,
)
from twinlens.errors import ShapeError
from twinlens.types import no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.types import ProgressCallback

STEPS_PER_DECADE = 8
"""Resolution of the search for a penalty (paper appendix A.3)."""

L2_PENALTIES = tuple(10.0 ** (step / STEPS_PER_DECADE) for step in range(-48, 49))
"""The penalties that the search can choose: 1e-6 to 1e6 in 96 logarithmic steps."""

SEARCH_TOLERANCE = 1e-6
"""Decrease in nats a sample that a fit of the search leaves out; scikit-learn's leave out more."""

ONE_SHOT_L2_PENALTY = 1.0
"""Penalty where there is one sample a class, and none can be held out to choose a penalty."""

_VALIDATION_DIVISOR = 5
"""One of so many samples of a class is held out."""

_COARSE_STEP = 2 * STEPS_PER_DECADE
_MAX_FITS = 7 + 2 * 4 + 1
"""Coarse steps; two neighbours at 1, 1/2, 1/4 and 1/8 of a decade; the last fit."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFeatures:
    """Features with their classes.

    Attributes:
        features: Features on any scale: [sample, feature].
        targets: Class of each sample, from 0: [sample].
    """

    features: Float[np.ndarray, "sample feature"]
    targets: Int[np.ndarray, " sample"]

    def __getitem__(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> LabelledFeatures:
        """The samples with these indices, or where a mask is true."""
        return LabelledFeatures(self.features[which], self.targets[which])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweepResult:
    """The penalty that was chosen, and those that were tried.

    Attributes:
        l2_penalty: The best on the validation set; of several the strongest.
        validation_accuracies: Accuracy on the validation set by penalty, weakest first.
        probe: Fitted to training and validation sets together with the best penalty.
        unconverged: Penalties whose fit took all its iterations and was not at its optimum.
    """

    l2_penalty: float
    validation_accuracies: dict[float, float]
    probe: LinearProbe
    unconverged: tuple[float, ...]


def fit_linear_probe(
    data: LabelledFeatures, num_classes: int, *, bias: bool = True, seed: int = 0
) -> LinearProbe:
    """Fit to all samples, with a penalty that is chosen on a fifth of each class.

    With one sample a class none can be held out: the penalty is `ONE_SHOT_L2_PENALTY`.

    Args:
        data: The samples.
        num_classes: Number of classes, at least two.
        bias: Fit a bias. Without one, classes may have no samples.
        seed: Draws the samples that are held out.

    Raises:
        ConfigError: There are fewer than two classes.
        DataError: There are no samples, a target is no class, a class has no samples although
            there is a bias, or a feature is not finite.
    """
    held = draw_validation_mask(data.targets, seed=seed)
    if held.any():
        return sweep_l2_penalty(data[~held], data[held], num_classes, bias=bias).probe
    solver = LogisticRegressionSolver(data.features, data.targets, num_classes, bias=bias)
    return solver.fit(ONE_SHOT_L2_PENALTY)


def draw_validation_mask(
    targets: Int[np.ndarray, " sample"], *, seed: int = 0
) -> Bool[np.ndarray, " sample"]:
    """Draw a fifth of each class, at least one sample; a class of a single sample keeps it.

    Example:
        >>> int(draw_validation_mask(np.array([0, 0, 1])).sum())
        1
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    held = np.zeros(len(targets), np.bool_)
    for number in np.unique(targets).tolist():
        own = order[targets[order] == number]
        held[own[: max(len(own) // _VALIDATION_DIVISOR, int(len(own) > 1))]] = True
    return held


def probe_accuracy(probe: LinearProbe, test: LabelledFeatures) -> float:
    """Fraction of samples whose class has the highest logit."""
    predicted = probe.predict_logits(test.features).argmax(axis=1)
    return float((predicted == test.targets).mean())


def sweep_l2_penalty(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    num_classes: int,
    *,
    bias: bool = True,
    max_iterations: int = MAX_ITERATIONS,
    progress: ProgressCallback = no_progress,
) -> SweepResult:
    """Choose a penalty on a validation set, and fit to all with it (paper appendix A.3).

    Fits with 1e6, 1e4, ..., 1e-6 come first. Then the interval around the best is halved, four
    times, to 8 steps a decade: 16 fits at most for 97 possible penalties. Of equally accurate ones
    the strongest is the best. Each fit begins where that with the nearest penalty ended.

    Args:
        train: Samples to fit to; with a bias, each class at least once.
        validation: Samples to choose on.
        num_classes: Number of classes.
        bias: Fit a bias.
        max_iterations: Iterations of each fit at most.
        progress: Called with the number of fits done and their largest number.

    Raises:
        ConfigError: There are fewer than two classes.
        DataError: A set is empty, a target is no class, a class has no samples to train on, or a
            feature is not finite.
        ShapeError: There is not one target a sample, or sets differ in their features.
    """
    check_labelled_features(validation.features, validation.targets, num_classes)
    solvers = [LogisticRegressionSolver(train.features, train.targets, num_classes, bias=bias)]
    both = _concatenate(train, validation)
    fits: dict[float, Sequence[LinearProbe]] = {}
    tried = search_folds(solvers, [validation], fits, max_iterations, progress)
    best = best_l2_penalty(tried)
    progress(_MAX_FITS - 1, _MAX_FITS, "the last fit")
    solver = LogisticRegressionSolver(both.features, both.targets, num_classes, bias=bias)
    probe = solver.fit(best, initial=fits[best][0], max_iterations=max_iterations)
    progress(_MAX_FITS, _MAX_FITS)
    return SweepResult(
        l2_penalty=best,
        validation_accuracies=tried,
        probe=probe,
        unconverged=tuple(penalty for penalty in tried if not fits[penalty][0].converged),
    )


def search_l2_penalty(score: Callable[[float], float]) -> dict[float, float]:
    """Search for a penalty as the paper does: the score of each that is tried, weakest first.

    Example:
        >>> tried = search_l2_penalty(lambda penalty: -abs(np.log10(penalty) - 1.1))
        >>> round(best_l2_penalty(tried), 2), len(tried)
        (13.34, 15)
    """
    middle = len(L2_PENALTIES) // 2
    coarse = range(-middle, middle + 1, _COARSE_STEP)
    # From the strongest on: the stronger, the sooner fitted, and each fit helps the next.
    tried = {step: score(L2_PENALTIES[middle + step]) for step in reversed(coarse)}
    distance = _COARSE_STEP
    while distance > 1:
        distance //= 2
        best = best_l2_penalty(tried)
        for step in (best + distance, best - distance):
            if abs(step) <= middle and step not in tried:
                tried[step] = score(L2_PENALTIES[middle + step])
    return {L2_PENALTIES[middle + step]: tried[step] for step in sorted(tried)}


_Number = TypeVar("_Number", int, float)


def best_l2_penalty(scores: Mapping[_Number, float]) -> _Number:
    """The penalty with the best score; of several the strongest."""
    return max(scores, key=lambda penalty: (scores[penalty], penalty))


def search_folds(
    solvers: Sequence[LogisticRegressionSolver],
    held_out: Sequence[LabelledFeatures],
    fits: dict[float, Sequence[LinearProbe]],
    max_iterations: int,
    progress: ProgressCallback = no_progress,
) -> dict[float, float]:
    """Search for a penalty by the accuracy over all folds: the accuracy of each that is tried.

    Args:
        solvers: Prepared samples to fit to, a solver for each fold.
        held_out: The samples that each fold's probe is measured on.
        fits: Gets the probes by penalty, one a fold.
        max_iterations: Iterations of each fit at most.
        progress: Called with the number of penalties done and their largest number.
    """

    def score(penalty: float) -> float:
        progress(len(fits), _MAX_FITS, f"L2 penalty {penalty:.3g}")
        near = min(fits, key=lambda other: abs(np.log(other / penalty)), default=None)
        starts = [None] * len(solvers) if near is None else fits[near]
        fits[penalty] = [
            solver.fit(
                penalty, initial=start, max_iterations=max_iterations, tolerance=SEARCH_TOLERANCE
            )
            for solver, start in zip(solvers, starts, strict=True)
        ]
        folds = zip(fits[penalty], held_out, strict=True)
        correct = sum(probe_accuracy(probe, held) * len(held.targets) for probe, held in folds)
        return correct / sum(len(held.targets) for held in held_out)

    return search_l2_penalty(score)


def _concatenate(first: LabelledFeatures, second: LabelledFeatures) -> LabelledFeatures:
    check_same_width(first, second)
    return LabelledFeatures(
        np.concatenate([first.features, second.features]),
        np.concatenate([first.targets, second.targets]),
    )


def check_same_width(train: LabelledFeatures, other: LabelledFeatures) -> None:
    """Make sure that two sets have the same number of features.

    Raises:
        ShapeError: They have not.
    """
    if train.features.shape[1] != other.features.shape[1]:
        raise ShapeError(
            f"features: got {other.features.shape[1]} a sample, "
            f"expected {train.features.shape[1]} as in the training set"
        )
