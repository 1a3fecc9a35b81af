"""Several tasks on several data sets with one model, each image embedded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from twinlens.eval.requirements import require_captions
from twinlens.eval.results.result import ReferenceScore, TaskResult
from twinlens.eval.tasks import (
    linear_probe,
    multi_label,
    retrieval,
    robustness,
    scores,
    zero_shot,
)
from twinlens.eval.tasks.classifier import evaluate_head, head_classifier
from twinlens.eval.tasks.linear_probe import LinearProbeResult
from twinlens.images.corruptions import SEVERITIES
from twinlens.types import TaskName, no_progress

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.data.splits import DatasetSplits
    from twinlens.eval.context import EvalContext
    from twinlens.eval.tasks.robustness import BaselinePoints
    from twinlens.types import ProgressCallback

_CLASSIFICATION_TASKS = ("zeroshot_classification", "classifier")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions:
    """The tasks of an evaluation and their settings, for every data set.

    Attributes:
        tasks: The tasks, in order.
        templates: Prompts with `{}`; none means a data set's own, else the model's.
        language: Language of the class names.
        shots: Images a class of few-shot probes, each number `num_seeds` times.
        num_seeds: Number of draws of few images.
        shifted: Shifted sets of the robustness task.
        corruptions: Corruptions of the robustness task.
        baselines: Accuracies of supervised models for the robustness task, by shifted set.
        references: Scores of supervised models, by data set.
    """

    tasks: tuple[TaskName, ...] = ("zero-shot",)
    templates: tuple[str, ...] = ()
    language: str = "en"
    shots: tuple[int, ...] = ()
    num_seeds: int = 5
    shifted: tuple[Dataset, ...] = ()
    corruptions: tuple[str, ...] = ()
    baselines: Mapping[str, BaselinePoints] = field(default_factory=dict[str, "BaselinePoints"])
    references: Mapping[str, tuple[ReferenceScore, ...]] = field(
        default_factory=dict[str, tuple[ReferenceScore, ...]]
    )


def run_suite(
    context: EvalContext,
    datasets: Sequence[DatasetSplits],
    options: EvalOptions,
    progress: ProgressCallback = no_progress,
) -> Iterator[tuple[TaskResult, Dataset]]:
    """Run every task on every data set; yield each result with its data set.

    Args:
        context: The model's features.
        datasets: Data sets with the splits that probes learn from.
        options: The tasks and their settings.
        progress: Called by tasks with steps that take long.

    Raises:
        DataError: Something is wrong with a data set, or it lacks what a task needs.
        ConfigError: The model lacks what a task needs.
    """
    for parts in datasets:
        _check_requirements(context, parts, options)
    context.expected_images = sum(_count_images(parts, options) for parts in datasets)
    for parts in datasets:
        results = [_run_task(context, parts, task, options, progress) for task in options.tasks]
        for result in _add_references(results, options.references.get(parts.name, ())):
            yield replace(result, left_out=parts.test.left_out.as_json()), parts.test


def _check_requirements(context: EvalContext, splits: DatasetSplits, options: EvalOptions) -> None:
    """Refuse a data set that lacks what a task needs, before hours of work."""
    dataset = splits.test
    if "linear-probe" in options.tasks:
        linear_probe.require_train_split(splits)
    if {"retrieval", "scores"} & set(options.tasks):
        require_captions(dataset.name, dataset.samples)
    if "classifier" in options.tasks:
        head_classifier(context.embedder, dataset)


def _count_images(splits: DatasetSplits, options: EvalOptions) -> int:
    """The number of images that will be embedded, at most."""
    count = len(splits.test.samples)
    if "robustness" in options.tasks:
        count *= 1 + len(SEVERITIES) * len(options.corruptions)
        count += sum(len(one.samples) for one in options.shifted)
    if "linear-probe" in options.tasks:
        count += sum(len(one.samples) for one in (splits.train, splits.val) if one is not None)
    return count


def _run_task(
    context: EvalContext,
    splits: DatasetSplits,
    task: TaskName,
    options: EvalOptions,
    progress: ProgressCallback,
) -> TaskResult:
    dataset = splits.test
    templates, language = options.templates, options.language
    runs: dict[TaskName, Callable[[], TaskResult]] = {
        "zero-shot": lambda: (
            multi_label.evaluate_multi_label(context, dataset, templates=templates)
            if dataset.multi_label
            else zero_shot.evaluate_zero_shot(
                context, dataset, templates=templates, language=language
            )
        ),
        "classifier": lambda: evaluate_head(context, dataset),
        "retrieval": lambda: retrieval.evaluate_retrieval(context, dataset, progress=progress),
        "linear-probe": lambda: linear_probe.evaluate_linear_probe(
            context, splits, shots=options.shots, num_seeds=options.num_seeds, progress=progress
        ),
        "robustness": lambda: robustness.evaluate_robustness(
            context,
            dataset,
            shifted=options.shifted,
            corruptions=options.corruptions,
            baselines=options.baselines,
            templates=templates,
            language=language,
        ),
        "scores": lambda: scores.evaluate_caption_scores(context, dataset),
    }
    return runs[task]()


def _add_references(
    results: Sequence[TaskResult], references: Sequence[ReferenceScore]
) -> list[TaskResult]:
    """The results with scores of supervised models: those given, and the probe of this run."""
    probes = [
        ReferenceScore(
            metric=metric,
            value=value,
            model="linear probe on this model's features",
            source="this evaluation",
        )
        for result in results
        if isinstance(result, LinearProbeResult)
        for metric, value in result.metrics.items()
        if metric != "ece"
    ]
    return [
        replace(result, references=_matching_references(result, [*references, *probes]))
        if result.task in _CLASSIFICATION_TASKS
        else replace(result, references=_matching_references(result, references))
        for result in results
    ]


def _matching_references(
    result: TaskResult, references: Sequence[ReferenceScore]
) -> tuple[ReferenceScore, ...]:
    return tuple(one for one in references if one.metric in result.metrics)
