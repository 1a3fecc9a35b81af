"""What is left of an accuracy where images are corrupted, or come from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from twinlens.embed.dataset import Change, Readable, check_readable
from twinlens.errors import DataError
from twinlens.eval.metrics.robustness import effective_robustness, fit_baseline
from twinlens.eval.metrics.statistics import bootstrap_means, intervals_of
from twinlens.eval.results.result import Evidence, RobustnessResult, Shifted, samples_digest
from twinlens.eval.tasks.classification import Choice
from twinlens.eval.tasks.classifier import choice_of_head
from twinlens.eval.tasks.zero_shot import choice_in_words
from twinlens.images.corruptions import CORRUPTIONS, SEVERITIES, corrupt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.eval.context import Features

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
    language: str = "en",
) -> RobustnessResult:
    """Classify the images as they are, corrupted, and those of other sets of the same classes.

    A model with a classifier of its own classifies by that, any other by the classes' names. Where
    a shifted set has some of the classes only, both sets are measured among these.

    Args:
        features: Of the model.
        dataset: The standard set.
        shifted: Sets whose classes are among those of the standard set.
        corruptions: Of `CORRUPTIONS`, each at five severities.
        baseline: By shifted set, what supervised models reach on both sets, at least two models.
        templates: Prompts with `{}`; none means the data set's own, else the model's.
        language: Which of the data set's names to call the classes by.

    Raises:
        DataError: A shifted set has a class that the standard set has not, the baseline is of
            fewer than two models, or images cannot be decoded.
        UnknownNameError: There is no such corruption.
    """
    choice = _choice(features, dataset, templates, language)
    for one in (dataset, *shifted):
        if one.multi_label:
            raise DataError(f"{one.name}: got images with several labels, expected one each")
    for one in shifted:
        _check_classes(dataset, one, choice)
    read = features.images(dataset)
    asked = read.of(choice.names)
    check_readable(dataset.name, len(asked.samples), {})
    right = {"acc1": _right(asked, choice)}
    found: dict[str, tuple[float, ...]] = {}
    for name in corruptions:
        rows = [_corrupted(features, dataset, choice, name, s) for s in SEVERITIES]
        found[name] = tuple(float(row.mean()) for row in rows)
        right |= {f"{name}-{s}": row for s, row in zip(SEVERITIES, rows, strict=True)}
    result = _clean_and_corrupted(dataset, asked, right, found, choice)
    seen = [result.evidence.samples]
    for one in shifted:
        few = _among(choice, one)
        there = features.images(one).of(few.names)
        check_readable(one.name, len(there.samples), {})
        before, after = _right(asked.of(few.names), few), _right(there, few)
        points = (baseline or {}).get(one.name, ())
        chance = dict.fromkeys((f"acc1@{one.name}", f"standard_acc1@{one.name}"), few.chance)
        result = replace(
            _with_shifted(result, one.name, before, after, points),
            chance=result.chance | chance,
            unreadable=result.unreadable | there.unreadable,
        )
        seen.append(samples_digest((sample.key, sample.label) for sample in there.samples))
    return replace(
        result,
        notes=_notes(shifted, baseline or {}),
        evidence=replace(result.evidence, samples=samples_digest(seen)),
    )


def _choice(
    features: Features, dataset: Dataset, templates: Sequence[str], language: str
) -> Choice:
    if features.lens.has_head:
        return choice_of_head(features.lens, dataset)
    return choice_in_words(features, dataset, templates=templates, language=language)


def _notes(shifted: Sequence[Dataset], baseline: Mapping[str, Points]) -> tuple[str, ...]:
    """What the baseline has or lacks."""
    names = [one.name for one in shifted]
    unused = [
        f"the baseline is also of {name}, not measured here" for name in baseline.keys() - names
    ]
    without = [
        f"no effective robustness on {name}: the baseline has no accuracy there"
        for name in names
        if baseline and name not in baseline
    ]
    return (*unused, *without)


def _check_classes(dataset: Dataset, shifted: Dataset, choice: Choice) -> None:
    unknown = [name for name in shifted.classnames if name not in choice.names]
    if unknown or not shifted.classnames:
        got = repr(unknown[0]) if unknown else "no labels"
        raise DataError(
            f"{shifted.name}: got {got}, expected classes of {dataset.name} as it names them"
        )


def _right(read: Readable, choice: Choice) -> NDArray[np.bool_]:
    """Whether each image's best class is its own."""
    labels = list(choice.names)
    best = choice.scores(read.embeddings).argmax(axis=1)
    return np.array([labels[b] == s.label for b, s in zip(best, read.samples, strict=True)])


def _corrupted(
    features: Features, dataset: Dataset, choice: Choice, name: str, severity: int
) -> NDArray[np.bool_]:
    strength = CORRUPTIONS[name].strengths[severity - 1]
    change = Change(name=f"{name} {strength:g}", apply=partial(_corrupt, name, severity))
    return _right(features.images(dataset, change).of(choice.names), choice)


def _corrupt(name: str, severity: int, pixels: NDArray[np.uint8], place: int) -> NDArray[np.uint8]:
    return corrupt(pixels, name, severity, seed=place)


def _clean_and_corrupted(
    dataset: Dataset,
    read: Readable,
    right: Mapping[str, NDArray[np.bool_]],
    found: dict[str, tuple[float, ...]],
    choice: Choice,
) -> RobustnessResult:
    rows = [right["acc1"].astype(np.float64)]
    if found:
        rows.append(np.mean([row for key, row in right.items() if key != "acc1"], axis=0))
    names: list[str] = ["acc1", "corrupted_acc1"][: len(rows)]
    drawn = dict(zip(names, bootstrap_means(np.stack(rows)), strict=True))
    metrics = {key: float(row.mean()) for key, row in zip(drawn, rows, strict=True)}
    if found and metrics["acc1"]:
        metrics["retained"] = metrics["corrupted_acc1"] / metrics["acc1"]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn["retained"] = drawn["corrupted_acc1"] / drawn["acc1"]
    return RobustnessResult(
        task="robustness",
        dataset=dataset.name,
        metrics=metrics,
        intervals=intervals_of(drawn, metrics, len(read.samples)),
        chance={key: choice.chance for key in metrics if key != "retained"},
        samples=len(read.samples),
        unreadable=read.unreadable,
        by="classifier" if choice.task == "classifier" else "names",
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
    name: str,
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    points: Points,
) -> RobustnessResult:
    """The result with one more set: what was right of the standard set's classes, and there."""
    there, usual = f"acc1@{name}", f"standard_acc1@{name}"
    metrics = {there: float(after.mean()), usual: float(before.mean())}
    # With seeds of their own: the sets are drawn independently of each other.
    drawn = {
        there: bootstrap_means(after[None].astype(np.float64))[0],
        usual: bootstrap_means(before[None].astype(np.float64), seed=1)[0],
    }
    effective = None
    if points:
        line = fit_baseline(np.array(points), samples=min(len(before), len(after)))
        key = f"effective_robustness@{name}"
        effective = metrics[key] = effective_robustness(metrics[usual], metrics[there], line)
        pairs = zip(drawn[usual].tolist(), drawn[there].tolist(), strict=True)
        drawn[key] = np.array([effective_robustness(x, y, line) for x, y in pairs])
    intervals = intervals_of(drawn, metrics, len(after))
    one = Shifted(
        dataset=name,
        accuracy=metrics[there],
        interval=intervals[there],
        samples=len(after),
        effective=effective,
    )
    kept = {key: values.astype(np.float32) for key, values in drawn.items()}
    evidence = result.evidence
    return replace(
        result,
        metrics=result.metrics | metrics,
        intervals=result.intervals | intervals,
        shifted=[*result.shifted, one],
        baseline=result.baseline | ({name: list(points)} if points else {}),
        evidence=replace(evidence, replicates=evidence.replicates | kept),
    )


def _among(choice: Choice, dataset: Dataset) -> Choice:
    """The choice narrowed to a data set's classes."""
    wanted = set(dataset.classnames)
    kept = [number for number, label in enumerate(choice.names) if label in wanted]
    names = {label: name for label, name in choice.names.items() if label in wanted}
    return replace(choice, names=names, weight=choice.weight[:, kept])
