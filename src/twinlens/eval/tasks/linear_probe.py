"""Linear probes on a model's features (paper section 3.2), with many or few images a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from twinlens.embed.dataset import check_unreadable_fraction
from twinlens.embed.logistic_regression import (
    MAX_ITERATIONS,
    LogisticRegressionSolver,
    check_labelled_features,
)
from twinlens.embed.probe import (
    ONE_SHOT_L2_PENALTY,
    LabelledFeatures,
    SweepResult,
    best_l2_penalty,
    check_same_width,
    draw_validation_mask,
    probe_accuracy,
    search_folds,
    sweep_l2_penalty,
)
from twinlens.errors import DataError, require
from twinlens.eval.metrics.predictions import make_predictions
from twinlens.eval.metrics.statistics import bootstrap_means, confidence_intervals
from twinlens.eval.requirements import require_single_label
from twinlens.eval.results.result import Evidence, TaskResult, digest_samples
from twinlens.types import no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.data.splits import DatasetSplits
    from twinlens.embed.dataset import EmbeddedDataset
    from twinlens.eval.context import EvalContext
    from twinlens.types import ProgressCallback

_MAX_FOLDS = 4
"""Folds of cross-validation to choose a penalty for few shots, if there are so many shots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotResult:
    """Accuracies on the test images of probes with so many images a class, seed by seed."""

    shots: int
    accuracies: tuple[float, ...]

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy over the seeds."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearProbeResult(TaskResult):
    """The metrics of a linear classifier on the model's features (paper section 3.2).

    The metrics are `acc1`, `acc5` where there are five classes, `mean_per_class_recall` and `ece`.

    Attributes:
        num_classes: Number of classes.
        num_train: Number of images that the last fit learned from, validation images included.
        num_validation: Number of images that the penalty was chosen on.
        l2_penalty: The penalty that was chosen.
        validation_accuracies: Accuracy on the validation images by penalty.
        few_shot: The same with few images a class.
    """

    num_classes: int
    num_train: int
    num_validation: int
    l2_penalty: float
    validation_accuracies: dict[float, float]
    few_shot: list[FewShotResult]

    def details(self) -> dict[str, Any]:
        """Sizes, the sweep, and the few-shot probes."""
        return {
            "classes": self.num_classes,
            "train": self.num_train,
            "validation": self.num_validation,
            "strength": self.l2_penalty,
            "tried": {f"{key:.6g}": value for key, value in self.validation_accuracies.items()},
            "shots": [
                {"shots": s.shots, "mean": s.mean_accuracy, "accuracies": list(s.accuracies)}
                for s in self.few_shot
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotProbe:
    """A probe of a few samples a class.

    Attributes:
        shots: Samples a class.
        seed: The seed that drew them.
        accuracy: Accuracy on the test set.
        l2_penalty: The penalty of the fit.
        converged: True if the fit reached its optimum.
    """

    shots: int
    seed: int
    accuracy: float
    l2_penalty: float
    converged: bool


def evaluate_linear_probe(
    context: EvalContext,
    splits: DatasetSplits,
    *,
    shots: Sequence[int] = (),
    num_seeds: int = 5,
    progress: ProgressCallback = no_progress,
) -> LinearProbeResult:
    """Learn from the train split, choose the penalty on validation images, measure on test.

    Without a validation split a fifth of the training images is held out, drawn class by class with
    a fixed seed. The last fit is on both.

    Args:
        context: The model's features; those before the projection are learned from.
        splits: A data set with a train split.
        shots: Images a class of further probes, each `num_seeds` times.
        num_seeds: Number of draws of few images.
        progress: Called with the number of fits done.

    Raises:
        DataError: There is no train split, a class has no or too few images there, or images have
            several labels.
    """
    names = splits.test.classnames
    train_set = require_train_split(splits)
    test_embedded, test = _labelled_features(context, splits.test, names)
    train_embedded, train = _labelled_features(context, train_set, names)
    unreadable = test_embedded.unreadable | train_embedded.unreadable
    _check_class_counts(train_set, train, names, shots)
    few_shot = evaluate_few_shot(
        train, test, len(names), shots=shots, seeds=range(num_seeds), progress=progress
    )
    if splits.val is not None:
        val_embedded, validation = _labelled_features(context, splits.val, names)
        unreadable |= val_embedded.unreadable
    else:
        held = draw_validation_mask(train.targets)
        train, validation = train[~held], train[held]
    sweep = sweep_l2_penalty(train, validation, len(names), progress=progress)
    predictions = make_predictions(sweep.probe.predict_logits(test.features), test.targets)
    few_metrics, few_replicates = _few_shot_metrics(few_shot)
    metrics = predictions.metrics | few_metrics
    replicates = predictions.replicates() | few_replicates  # the same draws for every model
    return LinearProbeResult(
        task="linear_probe",
        dataset=splits.name,
        metrics=metrics,
        intervals=confidence_intervals(replicates, metrics, len(test.targets)),
        chance=predictions.chance | dict.fromkeys(few_metrics, 1 / len(names)),
        num_samples=len(test.targets),
        unreadable=unreadable,
        notes=_notes(sweep, few_shot),
        num_classes=len(names),
        num_train=len(train.targets) + len(validation.targets),
        num_validation=len(validation.targets),
        l2_penalty=sweep.l2_penalty,
        validation_accuracies=sweep.validation_accuracies,
        few_shot=[
            FewShotResult(
                shots=k, accuracies=tuple(one.accuracy for one in few_shot if one.shots == k)
            )
            for k in shots
        ],
        evidence=Evidence(
            samples_digest=digest_samples((one.key, one.label) for one in test_embedded.samples),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
            correct=predictions.correct,
        ),
    )


def require_train_split(splits: DatasetSplits) -> Dataset:
    """The train split of a data set.

    Raises:
        DataError: There is none.
    """
    if splits.train is None:
        raise DataError(
            f"{splits.name}: got no training images, expected a split `train`, or --train"
        )
    return splits.train


def _labelled_features(
    context: EvalContext, dataset: Dataset, classnames: Sequence[str]
) -> tuple[EmbeddedDataset, LabelledFeatures]:
    """A data set's labelled images, and their features with the indices of their classes."""
    require_single_label(dataset)
    numbers = {name: number for number, name in enumerate(classnames)}
    embedded = context.embed_dataset(dataset).with_labels(numbers)
    check_unreadable_fraction(dataset.name, len(embedded.samples), {})
    targets = np.array([numbers[str(sample.label)] for sample in embedded.samples], np.int64)
    return embedded, LabelledFeatures(embedded.features, targets)


def _check_class_counts(
    dataset: Dataset, train: LabelledFeatures, classnames: Sequence[str], shots: Sequence[int]
) -> None:
    counts = np.bincount(train.targets, minlength=len(classnames))
    least = int(counts.argmin())
    if counts[least] < max(1, *shots, 1):
        raise DataError(
            f"{dataset.name}: got {counts[least]} images of {classnames[least]!r}, expected at "
            f"least {max(1, *shots, 1)} of each class to learn from"
        )


def _few_shot_metrics(
    probes: Sequence[FewShotProbe],
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Mean accuracies of few-shot probes, with replicates over the draws."""
    by_shots: dict[int, list[float]] = {}
    for one in probes:
        by_shots.setdefault(one.shots, []).append(one.accuracy)
    rows = {f"acc1@{k}-shot": np.array(one)[None] for k, one in by_shots.items()}
    return (
        {key: float(row.mean()) for key, row in rows.items()},
        {key: bootstrap_means(row)[0] for key, row in rows.items()},
    )


def _notes(sweep: SweepResult, probes: Sequence[FewShotProbe]) -> tuple[str, ...]:
    notes: list[str] = []
    if not sweep.probe.converged:
        notes.append("the last fit took all its iterations")
    if sweep.unconverged:
        at = ", ".join(f"{penalty:.3g}" for penalty in sweep.unconverged)
        notes.append(
            f"{len(sweep.unconverged)} fits took all their iterations, at L2 penalties {at}"
        )
    missed = sum(not one.converged for one in probes)
    if missed:
        notes.append(f"{missed} few-shot fits took all their iterations")
    return tuple(notes)


def evaluate_few_shot(
    train: LabelledFeatures,
    test: LabelledFeatures,
    num_classes: int,
    *,
    shots: Sequence[int],
    seeds: Sequence[int],
    max_iterations: int = MAX_ITERATIONS,
    progress: ProgressCallback = no_progress,
) -> list[FewShotProbe]:
    """Measure probes of a few samples a class (paper section 3.1.2, figure 6).

    Only the drawn samples are used: the penalty is chosen by the search of `sweep_l2_penalty`, with
    the accuracy on each quarter of them when fitted to the others (on each half or third of 2 or 3
    shots). For 1 shot it is `ONE_SHOT_L2_PENALTY`.

    Args:
        train: Samples to draw from.
        test: Samples to measure on.
        num_classes: Number of classes.
        shots: Samples a class.
        seeds: Seeds of the draws; the samples of fewer shots are among those of more.
        max_iterations: Iterations of each fit at most.
        progress: Called with the number of draws done.

    Returns:
        A probe for each number of shots and seed, in their order.

    Raises:
        ConfigError: There are fewer than two classes, or less than one shot is asked for.
        DataError: A class has fewer samples than are asked for, a set is empty, a target is no
            class, or a feature is not finite.
        ShapeError: There is not one target a sample, or sets differ in their features.
    """
    for data in (train, test):
        check_labelled_features(data.features, data.targets, num_classes)
    check_same_width(train, test)
    # All are drawn before the first is fitted, so that a class with too few is reported at once.
    draws = {
        (k, seed): draw_shots(train.targets, num_classes, shots=k, seed=seed)
        for k in shots
        for seed in seeds
    }
    results: list[FewShotProbe] = []
    for (k, seed), drawn in draws.items():
        progress(len(results), len(draws), f"{k} a class, seed {seed}")
        penalty = _cross_validated_penalty(train, drawn, num_classes, max_iterations)
        few = train[drawn.ravel()]
        solver = LogisticRegressionSolver(few.features, few.targets, num_classes)
        probe = solver.fit(penalty, max_iterations=max_iterations)
        results.append(
            FewShotProbe(
                shots=k,
                seed=seed,
                accuracy=probe_accuracy(probe, test),
                l2_penalty=penalty,
                converged=probe.converged,
            )
        )
    progress(len(results), len(draws))
    return results


def draw_shots(
    targets: Int[np.ndarray, " sample"], num_classes: int, *, shots: int, seed: int
) -> Int[np.ndarray, "shot class"]:
    """Draw indices of samples, so many of each class; fewer shots are the first rows of more.

    Raises:
        ConfigError: Less than one shot is asked for.
        DataError: A class has fewer samples.

    Example:
        >>> draw_shots(np.array([0, 1, 1, 0]), 2, shots=2, seed=0).shape
        (2, 2)
    """
    require(shots >= 1, "shots", shots, "at least 1")
    order = np.random.default_rng(seed).permutation(len(targets))
    drawn = [order[targets[order] == number][:shots] for number in range(num_classes)]
    for number, indices in enumerate(drawn):
        if len(indices) < shots:
            raise DataError(
                f"class {number}: got {len(indices)} samples, expected at least {shots}"
            )
    return np.stack(drawn, axis=1)


def _cross_validated_penalty(
    train: LabelledFeatures,
    indices: Int[np.ndarray, "shot class"],
    num_classes: int,
    max_iterations: int,
) -> float:
    """The penalty with the best accuracy in cross-validation on the drawn samples."""
    if len(indices) == 1:
        return ONE_SHOT_L2_PENALTY
    count = min(len(indices), _MAX_FOLDS)
    fold = np.arange(len(indices)) % count
    fitted = [train[indices[fold != part].ravel()] for part in range(count)]
    held_out = [train[indices[fold == part].ravel()] for part in range(count)]
    solvers = [LogisticRegressionSolver(one.features, one.targets, num_classes) for one in fitted]
    return best_l2_penalty(search_folds(solvers, held_out, {}, max_iterations))
