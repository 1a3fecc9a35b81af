"""Accuracy on corrupted images, and on images of other data sets with the same classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from twinlens.embed.dataset import EmbeddedDataset, ImageTransform, check_unreadable_fraction
from twinlens.errors import DataError
from twinlens.eval.metrics.robustness import effective_robustness, fit_baseline
from twinlens.eval.metrics.statistics import bootstrap_means, confidence_intervals
from twinlens.eval.requirements import require_single_label
from twinlens.eval.results.result import Evidence, Interval, TaskResult, digest_samples
from twinlens.eval.tasks.classification import LinearClassifier
from twinlens.eval.tasks.classifier import head_classifier
from twinlens.eval.tasks.zero_shot import build_zero_shot_classifier
from twinlens.images.corruptions import CORRUPTIONS, SEVERITIES, corrupt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.eval.context import EvalContext

BaselinePoints: TypeAlias = Sequence[tuple[float, float]]
"""Accuracies of supervised models on the standard set and on the shifted one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedResult:
    """The accuracy on a shifted set: another data set with the same classes.

    Attributes:
        dataset: The data set's name.
        accuracy: Top-1 accuracy.
        interval: Its 95% interval.
        num_samples: Number of images.
        effective_robustness: The accuracy beyond that of supervised models with this standard
            accuracy (Taori et al. 2020); None where no such models were given.
    """

    dataset: str
    accuracy: float
    interval: Interval
    num_samples: int
    effective_robustness: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessResult(TaskResult):
    """Accuracies on a standard set, on its images corrupted, and on shifted sets.

    The metrics are `acc1` on the standard set, `corrupted_acc1` (the mean over corruptions and
    severities), `retained` (that as a share of `acc1`), `acc1@NAME` of each shifted set and
    `effective_robustness@NAME`.

    Attributes:
        classified_by: "names" for a zero-shot classifier, or "classifier".
        num_classes: Number of classes.
        corruptions: By corruption, top-1 accuracy at severities 1 to 5.
        shifted: The shifted sets.
        baselines: (standard, shifted) accuracies of supervised models, by shifted set.
    """

    classified_by: str
    num_classes: int
    corruptions: dict[str, tuple[float, ...]]
    shifted: list[ShiftedResult]
    baselines: dict[str, list[tuple[float, float]]]

    def details(self) -> dict[str, Any]:
        """Every corruption and every shifted set."""
        return {
            "by": self.classified_by,
            "classes": self.num_classes,
            "corruptions": {name: list(rows) for name, rows in self.corruptions.items()},
            "shifted": [
                {
                    "dataset": s.dataset,
                    "accuracy": s.accuracy,
                    "interval": list(s.interval),
                    "samples": s.num_samples,
                    "effective": s.effective_robustness,
                }
                for s in self.shifted
            ],
            "baseline": self.baselines,
        }


def evaluate_robustness(
    context: EvalContext,
    dataset: Dataset,
    *,
    shifted: Sequence[Dataset] = (),
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    baselines: Mapping[str, BaselinePoints] | None = None,
    templates: Sequence[str] = (),
    language: str = "en",
) -> RobustnessResult:
    """Classify the images as they are, corrupted, and those of shifted sets.

    A model with a classifier of its own is measured with that, any other with a zero-shot
    classifier. Where a shifted set has some of the classes only, both sets are measured on these.

    Args:
        context: The model's features.
        dataset: The standard set.
        shifted: Sets whose classes are among those of the standard set.
        corruptions: Names in `CORRUPTIONS`, each at five severities.
        baselines: By shifted set, accuracies on both sets of at least two supervised models.
        templates: Prompts with `{}`; none means the data set's own, else the model's.
        language: Language of the class names.

    Raises:
        DataError: A shifted set has a class that the standard set has not, the baseline is of
            fewer than two models, or images cannot be decoded.
        UnknownNameError: There is no such corruption.
    """
    classifier = _pick_classifier(context, dataset, templates, language)
    for one in (dataset, *shifted):
        require_single_label(one)
    for one in shifted:
        _check_classes(dataset, one, classifier)
    embedded = context.embed_dataset(dataset).with_labels(classifier.names)
    check_unreadable_fraction(dataset.name, len(embedded.samples), {})
    correct = {"acc1": _is_correct(embedded, classifier)}
    accuracies: dict[str, tuple[float, ...]] = {}
    for name in corruptions:
        rows = [_correct_when_corrupted(context, dataset, classifier, name, s) for s in SEVERITIES]
        accuracies[name] = tuple(float(row.mean()) for row in rows)
        correct |= {f"{name}-{s}": row for s, row in zip(SEVERITIES, rows, strict=True)}
    result = _build_result(dataset, embedded, correct, accuracies, classifier)
    digests = [result.evidence.samples_digest]
    for one in shifted:
        points = (baselines or {}).get(one.name, ())
        own = _restrict_classes(classifier, one)
        before = _is_correct(embedded.with_labels(own.names), own)
        after = context.embed_dataset(one).with_labels(own.names)
        check_unreadable_fraction(one.name, len(after.samples), {})
        result = _add_shifted(result, one.name, before, _is_correct(after, own), points)
        keys = (f"acc1@{one.name}", f"standard_acc1@{one.name}")
        result = replace(
            result,
            chance=result.chance | dict.fromkeys(keys, own.chance_accuracy),
            unreadable=result.unreadable | after.unreadable,
        )
        digests.append(digest_samples((sample.key, sample.label) for sample in after.samples))
    return replace(
        result,
        notes=_notes(shifted, baselines or {}),
        evidence=replace(result.evidence, samples_digest=digest_samples(digests)),
    )


def _pick_classifier(
    context: EvalContext, dataset: Dataset, templates: Sequence[str], language: str
) -> LinearClassifier:
    if context.embedder.has_head:
        return head_classifier(context.embedder, dataset)
    return build_zero_shot_classifier(context, dataset, templates=templates, language=language)


def _notes(shifted: Sequence[Dataset], baselines: Mapping[str, BaselinePoints]) -> tuple[str, ...]:
    """Notes on shifted sets that only the baselines have, or that they lack."""
    names = [one.name for one in shifted]
    unused = [
        f"the baseline is also of {name}, not measured here" for name in baselines.keys() - names
    ]
    without = [
        f"no effective robustness on {name}: the baseline has no accuracy there"
        for name in names
        if baselines and name not in baselines
    ]
    return (*unused, *without)


def _check_classes(dataset: Dataset, shifted: Dataset, classifier: LinearClassifier) -> None:
    unknown = [name for name in shifted.classnames if name not in classifier.names]
    if unknown or not shifted.classnames:
        got = repr(unknown[0]) if unknown else "no labels"
        raise DataError(
            f"{shifted.name}: got {got}, expected classes of {dataset.name} as it names them"
        )


def _is_correct(embedded: EmbeddedDataset, classifier: LinearClassifier) -> NDArray[np.bool_]:
    """True for each image whose best class is its own: bool [sample]."""
    labels = list(classifier.names)
    best = classifier.scores(embedded.embeddings).argmax(axis=1)
    return np.array([labels[b] == s.label for b, s in zip(best, embedded.samples, strict=True)])


def _correct_when_corrupted(
    context: EvalContext, dataset: Dataset, classifier: LinearClassifier, name: str, severity: int
) -> NDArray[np.bool_]:
    strength = CORRUPTIONS[name].strengths[severity - 1]
    transform = ImageTransform(
        name=f"{name} {strength:g}", apply=partial(_apply_corruption, name, severity)
    )
    return _is_correct(
        context.embed_dataset(dataset, transform).with_labels(classifier.names), classifier
    )


def _apply_corruption(
    name: str, severity: int, pixels: NDArray[np.uint8], index: int
) -> NDArray[np.uint8]:
    return corrupt(pixels, name, severity, seed=index)


def _build_result(
    dataset: Dataset,
    embedded: EmbeddedDataset,
    correct: Mapping[str, NDArray[np.bool_]],
    corruptions: dict[str, tuple[float, ...]],
    classifier: LinearClassifier,
) -> RobustnessResult:
    rows = [correct["acc1"].astype(np.float64)]
    if corruptions:
        rows.append(np.mean([row for key, row in correct.items() if key != "acc1"], axis=0))
    names: list[str] = ["acc1", "corrupted_acc1"][: len(rows)]
    replicates = dict(zip(names, bootstrap_means(np.stack(rows)), strict=True))
    metrics = {key: float(row.mean()) for key, row in zip(replicates, rows, strict=True)}
    if corruptions and metrics["acc1"]:
        metrics["retained"] = metrics["corrupted_acc1"] / metrics["acc1"]
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates["retained"] = replicates["corrupted_acc1"] / replicates["acc1"]
    return RobustnessResult(
        task="robustness",
        dataset=dataset.name,
        metrics=metrics,
        intervals=confidence_intervals(replicates, metrics, len(embedded.samples)),
        chance={key: classifier.chance_accuracy for key in metrics if key != "retained"},
        num_samples=len(embedded.samples),
        unreadable=embedded.unreadable,
        classified_by="classifier" if classifier.task == "classifier" else "names",
        num_classes=len(classifier.names),
        corruptions=corruptions,
        shifted=[],
        baselines={},
        evidence=Evidence(
            samples_digest=digest_samples((one.key, one.label) for one in embedded.samples),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
            correct={"acc1": correct["acc1"]},
        ),
    )


def _add_shifted(
    result: RobustnessResult,
    name: str,
    standard_correct: NDArray[np.bool_],
    shifted_correct: NDArray[np.bool_],
    points: BaselinePoints,
) -> RobustnessResult:
    """The result with the metrics of a shifted set, from what was right on both sets."""
    shifted_key, standard_key = f"acc1@{name}", f"standard_acc1@{name}"
    accuracy, standard = float(shifted_correct.mean()), float(standard_correct.mean())
    metrics = {shifted_key: accuracy, standard_key: standard}
    # With different seeds: the sets are resampled independently of each other.
    replicates = {
        shifted_key: bootstrap_means(shifted_correct[None].astype(np.float64))[0],
        standard_key: bootstrap_means(standard_correct[None].astype(np.float64), seed=1)[0],
    }
    effective = None
    if points:
        line = fit_baseline(
            np.array(points), num_samples=min(len(standard_correct), len(shifted_correct))
        )
        key = f"effective_robustness@{name}"
        effective = metrics[key] = effective_robustness(standard, accuracy, line)
        pairs = zip(
            replicates[standard_key].tolist(), replicates[shifted_key].tolist(), strict=True
        )
        replicates[key] = np.array([effective_robustness(x, y, line) for x, y in pairs])
    intervals = confidence_intervals(replicates, metrics, len(shifted_correct))
    shifted = ShiftedResult(
        dataset=name,
        accuracy=accuracy,
        interval=intervals[shifted_key],
        num_samples=len(shifted_correct),
        effective_robustness=effective,
    )
    stored = {key: values.astype(np.float32) for key, values in replicates.items()}
    evidence = result.evidence
    return replace(
        result,
        metrics=result.metrics | metrics,
        intervals=result.intervals | intervals,
        shifted=[*result.shifted, shifted],
        baselines=result.baselines | ({name: list(points)} if points else {}),
        evidence=replace(evidence, replicates=evidence.replicates | stored),
    )


def _restrict_classes(classifier: LinearClassifier, dataset: Dataset) -> LinearClassifier:
    """The classifier with a data set's classes only."""
    wanted = set(dataset.classnames)
    kept = [number for number, label in enumerate(classifier.names) if label in wanted]
    names = {label: name for label, name in classifier.names.items() if label in wanted}
    return replace(classifier, names=names, weight=classifier.weight[:, kept])
