"""What a linear classifier learns from a model's features (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.embed.dataset import check_readable
from twinlens.errors import DataError
from twinlens.eval.metrics.predictions import tally
from twinlens.eval.metrics.statistics import bootstrap_means, intervals_of
from twinlens.eval.results.result import Evidence, ProbeResult, Shots, samples_digest
from twinlens.eval.tasks.probe_search import FewShot, Labelled, Sweep, few_shot, sweep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.data.splits import Parts
    from twinlens.embed.dataset import Readable
    from twinlens.eval.context import Features
    from twinlens.types import Count

_HELD_OUT = 5
"""One of so many images chooses the strength where the data set has no validation split."""


def measure(
    features: Features,
    parts: Parts,
    *,
    shots: Sequence[int] = (),
    seeds: int = 5,
    progress: Count | None = None,
) -> ProbeResult:
    """Learn from the train split, choose the strength on validation images, measure on test.

    Without a validation split a fifth of the training images is that, drawn class by class with
    a fixed seed. The last fit is on both.

    Args:
        features: Of the model: those before the projection are what is learned from.
        parts: A data set with something to learn from.
        shots: Images a class of further probes, each `seeds` times.
        seeds: How often few images are drawn.
        progress: Told how many fits are done.

    Raises:
        DataError: There is nothing to learn from, a class has no or too few images there, or
            images have several labels.
    """
    names = parts.test.classnames
    train_set = check_parts(parts)
    test_read, test = _labelled(features, parts.test, names)
    train_read, train = _labelled(features, train_set, names)
    unreadable = test_read.unreadable | train_read.unreadable
    _check_counts(train_set, train, names, shots)
    told = progress or _silent
    few = few_shot(train, test, len(names), shots=shots, seeds=range(seeds), progress=told)
    if parts.val is not None:
        val_read, validation = _labelled(features, parts.val, names)
        unreadable |= val_read.unreadable
    else:
        held = _held_out(train.targets)
        train, validation = train[~held], train[held]
    swept = sweep(train, validation, len(names), progress=told)
    logits = swept.probe.predict_logits(test.features)
    tallied = tally(logits.astype(np.float32, copy=False), test.targets)
    metrics, drawn = tallied.metrics, tallied.replicates()
    few_metrics, few_drawn = _few(few)
    kept = drawn | few_drawn  # the same draws for every model
    return ProbeResult(
        task="linear_probe",
        dataset=parts.name,
        metrics=metrics | few_metrics,
        intervals=intervals_of(kept, metrics | few_metrics, len(logits)),
        chance=tallied.chance | dict.fromkeys(few_metrics, 1 / len(names)),
        samples=len(logits),
        unreadable=unreadable,
        notes=_notes(swept, few),
        classes=len(names),
        train=len(train.targets) + len(validation.targets),
        validation=len(validation.targets),
        strength=swept.strength,
        tried=swept.tried,
        shots=[
            Shots(shots=k, accuracies=tuple(one.accuracy for one in few if one.shots == k))
            for k in shots
        ],
        evidence=Evidence(
            samples=samples_digest((one.key, one.label) for one in test_read.samples),
            replicates={key: values.astype(np.float32) for key, values in kept.items()},
            right=tallied.right,
        ),
    )


def check_parts(parts: Parts) -> Dataset:
    """Make sure that there is something to learn from: gives it.

    Raises:
        DataError: There is not, or its classes are others than those of the test images.
    """
    if parts.train is None:
        raise DataError(
            f"{parts.name}: got no training images, expected a split `train`, or --train"
        )
    return parts.train


def _silent(done: int, total: int, what: str = "") -> None: ...


def _labelled(
    features: Features, dataset: Dataset, names: Sequence[str]
) -> tuple[Readable, Labelled]:
    """A data set's labelled images, and their features with the numbers of their classes."""
    if dataset.multi_label or not names:
        got = "images with several labels" if dataset.multi_label else "no labels"
        raise DataError(f"{dataset.name}: got {got}, expected one label each")
    numbers = {name: number for number, name in enumerate(names)}
    read = features.images(dataset).of(numbers)
    check_readable(dataset.name, len(read.samples), {})
    targets = np.array([numbers[str(sample.label)] for sample in read.samples], np.int64)
    return read, Labelled(read.features, targets)


def _check_counts(
    dataset: Dataset, train: Labelled, names: Sequence[str], shots: Sequence[int]
) -> None:
    counts = np.bincount(train.targets, minlength=len(names))
    least = int(counts.argmin())
    if counts[least] < max(1, *shots, 1):
        raise DataError(
            f"{dataset.name}: got {counts[least]} images of {names[least]!r}, expected at "
            f"least {max(1, *shots, 1)} of each class to learn from"
        )


def _held_out(targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A fifth of each class, drawn; a class of a single image keeps it."""
    order = np.random.default_rng(0).permutation(len(targets))
    held = np.zeros(len(targets), np.bool_)
    for number in np.unique(targets).tolist():
        own = order[targets[order] == number]
        held[own[: max(len(own) // _HELD_OUT, int(len(own) > 1))]] = True
    return held


def _few(few: Sequence[FewShot]) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Mean accuracies of few-shot probes; their replicates are of the draws."""
    by_shots: dict[int, list[float]] = {}
    for one in few:
        by_shots.setdefault(one.shots, []).append(one.accuracy)
    rows = {f"acc1@{k}-shot": np.array(found)[None] for k, found in by_shots.items()}
    return (
        {key: float(row.mean()) for key, row in rows.items()},
        {key: bootstrap_means(row)[0] for key, row in rows.items()},
    )


def _notes(swept: Sweep, few: Sequence[FewShot]) -> tuple[str, ...]:
    notes: list[str] = []
    if not swept.probe.converged:
        notes.append("the last fit took all its iterations")
    if swept.unconverged:
        at = ", ".join(f"{strength:.3g}" for strength in swept.unconverged)
        notes.append(f"{len(swept.unconverged)} fits took all their iterations, at strengths {at}")
    missed = sum(not one.converged for one in few)
    if missed:
        notes.append(f"{missed} few-shot fits took all their iterations")
    return tuple(notes)
