"""Many tasks on many data sets in one pass: one model, and every image seen once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from twinlens.errors import DataError
from twinlens.eval.results.result import ProbeResult, Reference, Result
from twinlens.eval.tasks import (
    linear_probe,
    multi_label,
    retrieval,
    robustness,
    scores,
    zero_shot,
)
from twinlens.eval.tasks.classification import measure_choice
from twinlens.eval.tasks.classifier import choice_of_head
from twinlens.images.corruptions import SEVERITIES

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.data.splits import Parts
    from twinlens.eval.context import Features
    from twinlens.eval.tasks.robustness import Points
    from twinlens.types import Count

Task = Literal["zero-shot", "classifier", "retrieval", "linear-probe", "robustness", "scores"]
TASKS: tuple[Task, ...] = get_args(Task)

_IN_CLASSES = ("zeroshot_classification", "classifier")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked about every data set.

    Attributes:
        tasks: In this order.
        templates: Prompts with `{}`; none means a data set's own, else the model's.
        language: Which of a data set's names to call the classes by.
        shots: Images a class of few-shot probes, each size `seeds` times.
        seeds: How often few images are drawn.
        shifted: Sets that the robustness task holds against each data set.
        corruptions: Of the robustness task.
        baseline: Of the robustness task: what supervised models reach, by shifted set.
        references: What supervised models reach, by data set.
    """

    tasks: tuple[Task, ...] = ("zero-shot",)
    templates: tuple[str, ...] = ()
    language: str = "en"
    shots: tuple[int, ...] = ()
    seeds: int = 5
    shifted: tuple[Dataset, ...] = ()
    corruptions: tuple[str, ...] = ()
    baseline: Mapping[str, Points] = field(default_factory=dict[str, "Points"])
    references: Mapping[str, tuple[Reference, ...]] = field(
        default_factory=dict[str, tuple[Reference, ...]]
    )


def run(
    features: Features, datasets: Sequence[Parts], asked: Asked, progress: Count | None = None
) -> Iterator[tuple[Result, Dataset]]:
    """Measure every task on every data set: each result with the images that it is of.

    Args:
        features: Of the model.
        datasets: What to measure on, with what probes learn from.
        asked: The tasks.
        progress: Told about steps of a task that take a while.

    Raises:
        DataError: Something is wrong with a data set, or it lacks what a task needs.
        ConfigError: The model lacks what a task needs.
    """
    for parts in datasets:
        _check_needs(features, parts, asked)
    features.expected = sum(_images(parts, asked) for parts in datasets)
    for parts in datasets:
        results = [_measure(features, parts, task, asked, progress) for task in asked.tasks]
        for result in _with_references(results, asked.references.get(parts.name, ())):
            yield replace(result, left_out=parts.test.left_out.as_json()), parts.test


def _check_needs(features: Features, parts: Parts, asked: Asked) -> None:
    """Find out now, not hours after, that a data set lacks what a task needs."""
    dataset = parts.test
    if "linear-probe" in asked.tasks:
        linear_probe.check_parts(parts)
    if {"retrieval", "scores"} & set(asked.tasks) and not any(s.captions for s in dataset.samples):
        raise DataError(f"{dataset.name}: got no captions, expected images with one each")
    if "classifier" in asked.tasks:
        choice_of_head(features.lens, dataset)


def _images(parts: Parts, asked: Asked) -> int:
    """How many will be embedded, at most."""
    count = len(parts.test.samples)
    if "robustness" in asked.tasks:
        count *= 1 + len(SEVERITIES) * len(asked.corruptions)
        count += sum(len(one.samples) for one in asked.shifted)
    if "linear-probe" in asked.tasks:
        count += sum(len(one.samples) for one in (parts.train, parts.val) if one is not None)
    return count


def _measure(
    features: Features, parts: Parts, task: Task, asked: Asked, progress: Count | None
) -> Result:
    dataset = parts.test
    if task in ("zero-shot", "classifier"):
        return _classified(features, dataset, task, asked)
    if task == "retrieval":
        return retrieval.measure(features, dataset, progress=progress)
    if task == "linear-probe":
        return linear_probe.measure(
            features, parts, shots=asked.shots, seeds=asked.seeds, progress=progress
        )
    if task == "robustness":
        return robustness.measure(
            features,
            dataset,
            shifted=asked.shifted,
            corruptions=asked.corruptions,
            baseline=asked.baseline,
            templates=asked.templates,
            language=asked.language,
        )
    return scores.measure(features, dataset)


def _classified(features: Features, dataset: Dataset, task: Task, asked: Asked) -> Result:
    lens = features.lens
    if task == "classifier":
        choice = choice_of_head(lens, dataset)
    elif dataset.multi_label:
        return multi_label.measure(features, dataset, templates=asked.templates)
    else:
        choice = zero_shot.choice_in_words(
            features, dataset, templates=asked.templates, language=asked.language
        )
    return measure_choice(lens, dataset, choice, embedded=features.images(dataset))


def _with_references(results: Sequence[Result], given: Sequence[Reference]) -> list[Result]:
    """The results with what supervised models reach: as was given, and the probe of this run."""
    probes = [
        Reference(
            metric=metric,
            value=value,
            model="linear probe on this model's features",
            source="this evaluation",
        )
        for result in results
        if isinstance(result, ProbeResult)
        for metric, value in result.metrics.items()
        if metric != "ece"
    ]
    return [
        replace(result, references=_of(result, [*given, *probes]))
        if result.task in _IN_CLASSES
        else replace(result, references=_of(result, given))
        for result in results
    ]


def _of(result: Result, references: Sequence[Reference]) -> tuple[Reference, ...]:
    return tuple(one for one in references if one.metric in result.metrics)
