"""What is left of an accuracy where pictures are corrupted, or come from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from twinlens.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from twinlens.errors import DataError
from twinlens.eval.classification import Choice
from twinlens.eval.classifier import choice_of_head
from twinlens.eval.embedded import Change, Readable, check_readable
from twinlens.eval.result import Evidence, RobustnessResult, Shifted, samples_digest
from twinlens.eval.robustness import effective_robustness, fit_baseline
from twinlens.eval.statistics import bootstrap_means, intervals_of
from twinlens.eval.zero_shot import choice_in_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.eval.features import Features
    from twinlens.types import Count

Points = Sequence[tuple[float, float]]
"""Of supervised models: accuracy on the standard set and on the shifted one."""


def measure(
    features: Features,
    dataset: Dataset,
    *,
    shifted: Sequence[Dataset] = (),
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    baseline: Mapping[str, Points] | None = None,
    templates: Sequence[str] = (),
    progress: Count | None = None,
) -> RobustnessResult:
    """Classify the pictures as they are, corrupted, and those of other sets of the same classes.

    A model with a classifier of its own classifies by that, any other by the classes' names. Where
    a shifted set has some of the classes only, both sets are measured among these.

    Args:
        features: Of the model.
        dataset: The standard set.
        shifted: Sets whose classes are among those of the standard set.
        corruptions: Of `CORRUPTIONS`, each at five severities.
        baseline: By shifted set, what supervised models reach on both sets, at least two models.
        templates: Prompts with `{}`; none means the data set's own, else the model's.
        progress: Told how many corruptions and sets are done.

    Raises:
        DataError: A shifted set has a class that the standard set has not, the baseline is of
            fewer than two models, or pictures cannot be decoded.
        UnknownNameError: There is no such corruption.
    """
    choice, by = _choice(features, dataset, templates)
    for one in shifted:
        _check_classes(dataset, one, choice)
    read = features.pictures(dataset)
    asked = read.of(choice.names)
    check_readable(dataset.name, len(asked.samples), {})
    right = {"acc1": _right(asked, choice)}
    found: dict[str, tuple[float, ...]] = {}
    for number, name in enumerate(corruptions):
        rows = [_corrupted(features, dataset, choice, name, s) for s in SEVERITIES]
        found[name] = tuple(float(row.mean()) for row in rows)
        right |= {f"{name}-{s}": row for s, row in zip(SEVERITIES, rows, strict=True)}
        if progress is not None:
            progress(number + 1, len(corruptions) + len(shifted), name)
    result = _clean_and_corrupted(dataset, asked, right, found, choice, by)
    for number, one in enumerate(shifted):
        result = _with_shifted(result, features, one, asked, choice, baseline or {})
        if progress is not None:
            progress(len(corruptions) + number + 1, len(corruptions) + len(shifted), one.name)
    return result


def _choice(
    features: Features, dataset: Dataset, templates: Sequence[str]
) -> tuple[Choice, str]:
    if features.lens.has_head:
        return choice_of_head(features.lens, dataset), "classifier"
    return choice_in_words(features, dataset, templates=templates), "names"


def _check_classes(dataset: Dataset, shifted: Dataset, choice: Choice) -> None:
    unknown = [name for name in shifted.classnames if name not in choice.names]
    if unknown or not shifted.classnames:
        got = repr(unknown[0]) if unknown else "no labels"
        raise DataError(
            f"{shifted.name}: got {got}, expected classes of {dataset.name} as it names them"
        )


def _right(read: Readable, choice: Choice) -> NDArray[np.bool_]:
    """Whether each picture's best class is its own."""
    labels = list(choice.names)
    best = (read.embeddings @ choice.weight).argmax(axis=1)
    return np.array([labels[b] == s.label for b, s in zip(best, read.samples, strict=True)])


def _corrupted(
    features: Features, dataset: Dataset, choice: Choice, name: str, severity: int
) -> NDArray[np.bool_]:
    change = Change(name=f"{name}-{severity}", apply=partial(_corrupt, name, severity))
    return _right(features.pictures(dataset, change).of(choice.names), choice)


def _corrupt(
    name: str, severity: int, pixels: NDArray[np.uint8], place: int
) -> NDArray[np.uint8]:
    return corrupt(pixels, name, severity, seed=place)


def _clean_and_corrupted(
    dataset: Dataset,
    read: Readable,
    right: Mapping[str, NDArray[np.bool_]],
    found: dict[str, tuple[float, ...]],
    choice: Choice,
    by: str,
) -> RobustnessResult:
    rows = [right["acc1"].astype(np.float64)]
    if found:
        rows.append(np.mean([row for key, row in right.items() if key != "acc1"], axis=0))
    drawn = dict(zip(("acc1", "corrupted_acc1"), bootstrap_means(np.stack(rows)), strict=False))
    metrics = {key: float(row.mean()) for key, row in zip(drawn, rows, strict=True)}
    if found and metrics["acc1"]:
        metrics["retained"] = metrics["corrupted_acc1"] / metrics["acc1"]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn["retained"] = drawn["corrupted_acc1"] / drawn["acc1"]
    chance = 1 / len(choice.names)
    return RobustnessResult(
        task="robustness",
        dataset=dataset.name,
        metrics=metrics,
        intervals=intervals_of(drawn, metrics, len(read.samples)),
        chance={key: chance for key in metrics if key != "retained"},
        samples=len(read.samples),
        unreadable=read.unreadable,
        by=by,
        classes=len(choice.names),
        corruptions=found,
        shifted=[],
        baseline={},
        evidence=Evidence(
            samples=samples_digest((one.key, one.label) for one in read.samples),
            replicates={key: values.astype(np.float32) for key, values in drawn.items()},
            right={"acc1": right["acc1"]},
        ),
    )


def _with_shifted(
    result: RobustnessResult,
    features: Features,
    shifted: Dataset,
    standard: Readable,
    choice: Choice,
    baseline: Mapping[str, Points],
) -> RobustnessResult:
    """The result with one more shifted set."""
    few = _among(choice, shifted)
    read = features.pictures(shifted).of(few.names)
    check_readable(shifted.name, len(read.samples), {})
    right = _right(read, few)
    before = _right(standard.of(few.names), few)
    accuracy, usual = float(right.mean()), float(before.mean())
    key, chance = f"acc1@{shifted.name}", 1 / len(few.names)
    metrics = {key: accuracy, f"standard_acc1@{shifted.name}": usual}
    drawn = bootstrap_means(right[None].astype(np.float64))[0]
    interval = intervals_of({key: drawn}, metrics, len(right))
    effective, points = None, list(baseline.get(shifted.name, ()))
    if points:
        line = fit_baseline(np.array(points), samples=min(len(right), len(before)))
        effective = effective_robustness(usual, accuracy, line)
        metrics[f"effective_robustness@{shifted.name}"] = effective
    one = Shifted(
        dataset=shifted.name,
        accuracy=accuracy,
        interval=interval[key],
        samples=len(right),
        effective=effective,
    )
    return replace(
        result,
        metrics=result.metrics | metrics,
        intervals=result.intervals | interval,
        chance=result.chance | {name: chance for name in list(metrics)[:2]},
        unreadable=result.unreadable | read.unreadable,
        shifted=[*result.shifted, one],
        baseline=result.baseline | ({shifted.name: points} if points else {}),
    )


def _among(choice: Choice, dataset: Dataset) -> Choice:
    """The choice narrowed to a data set's classes."""
    wanted = set(dataset.classnames)
    kept = [number for number, label in enumerate(choice.names) if label in wanted]
    names = {label: name for label, name in choice.names.items() if label in wanted}
    return replace(choice, names=names, weight=choice.weight[:, kept])
