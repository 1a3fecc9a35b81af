"""Classification by a weight vector for each class: accuracy, calibration, chance, and classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.embed.dataset import check_unreadable_fraction
from twinlens.eval.metrics.classification import Calibration, per_class_recall
from twinlens.eval.metrics.predictions import Predictions, predict
from twinlens.eval.metrics.statistics import confidence_intervals
from twinlens.eval.requirements import require_single_label
from twinlens.eval.results.result import (
    Evidence,
    TaskResult,
    digest_samples,
    shared_name_notes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.embed.dataset import EmbeddedDataset
    from twinlens.eval.context import EvalContext
    from twinlens.types import Embeddings

_MAX_SHOWN = 12
"""Confusions, and errors, that a report shows."""

_IMAGES_PER_CONFUSION = 4
"""Images that a report shows of a confusion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class: its name, its recall, its images, and the class it was most often mistaken for."""

    classname: str
    recall: float
    samples: int
    mistaken_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Images of one class that were predicted as another; `indices` are some of them."""

    truth: str
    predicted: str
    images: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misclassification:
    """An image that was predicted as another class with much confidence.

    Attributes:
        index: Its index in the data set.
        truth: Its class.
        predicted: The predicted class.
        confidence: Probability of the predicted class.
    """

    index: int
    truth: str
    predicted: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationResult(TaskResult):
    """The metrics of a classification, with every class and the most confident errors.

    The metrics are `acc1`, `acc5` where there are five classes, `mean_per_class_recall`, `ece`
    (the expected calibration error), and `roc_auc` of the second class where there are two.

    Attributes:
        language: Language of the class names.
        templates: The prompt templates; none of a classifier's.
        num_classes: Number of classes to choose from.
        num_unnamed_classes: Classes of the data set without a name in the language, left out.
        shared_names: The labels of classes with the same name, by the first one's name. Where
            the model reads the names alike too, the first of them gets all predictions.
        per_class: Every class that has images, worst first.
        confusions: The pairs of a class and its predicted class with the most images.
        calibration: Accuracy by confidence.
        most_confident_errors: The errors with the highest confidence.
    """

    language: str
    templates: tuple[str, ...]
    num_classes: int
    num_unnamed_classes: int
    shared_names: Mapping[str, tuple[str, ...]]
    per_class: list[ClassResult]
    confusions: list[Confusion]
    calibration: Calibration = field(compare=False)
    most_confident_errors: list[Misclassification]

    def details(self) -> dict[str, Any]:
        """Prompts, classes, calibration and mistakes."""
        return {
            "language": self.language,
            "templates": list(self.templates),
            "classes": self.num_classes,
            "unnamed_classes": self.num_unnamed_classes,
            "shared_names": {key: list(one) for key, one in self.shared_names.items()},
            "empty_classes": self.num_classes - len(self.per_class),
            "calibration": self.calibration.to_dict(),
            "per_class": [asdict(one) for one in self.per_class],
            "confusions": [
                {
                    "truth": one.truth,
                    "predicted": one.predicted,
                    "images": one.images,
                    "places": list(one.indices),
                }
                for one in self.confusions
            ],
        }

    def all_notes(self) -> list[str]:
        """The notes, classes without a name or without images, and names of several classes."""
        counts = {
            f"classes without a name in the language {self.language!r}, left out": (
                self.num_unnamed_classes
            ),
            "classes without images, which can still be answered": (
                self.num_classes - len(self.per_class)
            ),
        }
        counted = [f"{what}: {count:,}" for what, count in counts.items() if count]
        return [*self.notes, *counted, *shared_name_notes(self.shared_names)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearClassifier:
    """Classes to choose from, each with a weight vector.

    Attributes:
        task: As in `ClassificationResult`.
        names: Name of each class by its label, in the order of the weights.
        weight: Unit vectors or a classifier's weights: float32 [embed, class].
        language: Language of the names.
        templates: The prompt templates that the weights were made from, if any.
        shared_names: As in `ClassificationResult`.
    """

    task: str
    names: Mapping[str, str]
    weight: NDArray[np.float32]
    language: str = "en"
    templates: tuple[str, ...] = ()
    shared_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def scores(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Score each image for each class: float32 [image, class].

        Classes with equal weights have equal scores to the last bit. A matrix product rounds equal
        columns differently by their position, which would decide between them.
        """
        distinct: dict[bytes, int] = {}
        columns = np.ascontiguousarray(self.weight.T)
        inverse = [distinct.setdefault(column.tobytes(), len(distinct)) for column in columns]
        if len(distinct) == len(inverse):
            return embeddings @ self.weight
        kept = [inverse.index(number) for number in range(len(distinct))]
        return (embeddings @ self.weight[:, kept])[:, inverse]

    @property
    def display_names(self) -> list[str]:
        """A distinct name for each class."""
        times = Counter(self.names.values())
        return [
            name if times[name] == 1 or name == label else _disambiguate(name, label)
            for label, name in self.names.items()
        ]

    @property
    def chance_accuracy(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.names)


def _disambiguate(name: str, label: str) -> str:
    """A name that several classes have, with the label: `crane (2)`, `rot (blue)`."""
    return label if label.startswith(f"{name} (") else f"{name} ({label})"


def evaluate_classifier(
    context: EvalContext, dataset: Dataset, classifier: LinearClassifier
) -> ClassificationResult:
    """Classify every image whose label is among the classes, each by its highest logit.

    Args:
        context: The model's features.
        dataset: Labelled images.
        classifier: The classes to choose from.

    Raises:
        DataError: There are no such images, they have several labels each, or more than 1% of
            the images cannot be decoded.
    """
    require_single_label(dataset)
    embedded = context.embed_dataset(dataset).with_labels(classifier.names)
    check_unreadable_fraction(dataset.name, len(embedded.samples), {})
    numbers = {label: number for number, label in enumerate(classifier.names)}
    targets = np.array([numbers[str(sample.label)] for sample in embedded.samples], np.int64)
    scale = context.embedder.logit_scale
    predictions = predict(embedded.embeddings, targets, classifier.scores, scale=scale)
    return _build_result(embedded, predictions, dataset, classifier)


def _build_result(
    embedded: EmbeddedDataset,
    predictions: Predictions,
    dataset: Dataset,
    classifier: LinearClassifier,
) -> ClassificationResult:
    names, metrics = classifier.display_names, predictions.metrics
    replicates, count = predictions.replicates(), len(predictions.targets)
    return ClassificationResult(
        task=classifier.task,
        dataset=dataset.name,
        language=classifier.language,
        templates=classifier.templates,
        metrics=metrics,
        intervals=confidence_intervals(replicates, metrics, count),
        chance=predictions.chance,
        num_samples=count,
        num_classes=len(names),
        unreadable=embedded.unreadable,
        num_unnamed_classes=sum(label not in classifier.names for label in dataset.classnames),
        shared_names=classifier.shared_names,
        per_class=_class_results(predictions.top_classes[:, 0], predictions.targets, names),
        confusions=_top_confusions(predictions, embedded.indices, names),
        calibration=predictions.calibration,
        most_confident_errors=_top_misclassifications(predictions, embedded.indices, names),
        evidence=Evidence(
            samples_digest=digest_samples((one.key, one.label) for one in embedded.samples),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
            correct=predictions.correct,
        ),
    )


def _class_results(
    predicted: NDArray[np.int64], targets: NDArray[np.int64], names: Sequence[str]
) -> list[ClassResult]:
    """Every class that has images, worst first."""
    recall, samples = per_class_recall(predicted, targets, len(names))
    results: list[ClassResult] = []
    for number in np.flatnonzero(samples).tolist():
        wrong = predicted[(targets == number) & (predicted != number)]
        mistaken_for = names[int(np.bincount(wrong).argmax())] if len(wrong) else None
        results.append(
            ClassResult(
                classname=names[number],
                recall=float(recall[number]),
                samples=int(samples[number]),
                mistaken_for=mistaken_for,
            )
        )
    return sorted(results, key=lambda one: (one.recall, -one.samples, one.classname))


def _top_confusions(
    predictions: Predictions, indices: NDArray[np.int64], names: Sequence[str]
) -> list[Confusion]:
    """The pairs of classes that most images were mistaken in."""
    predicted, targets = predictions.top_classes[:, 0], predictions.targets
    wrong = np.flatnonzero(predicted != targets)
    pairs, inverse, counts = np.unique(
        targets[wrong] * len(names) + predicted[wrong], return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:_MAX_SHOWN]
    return [
        Confusion(
            truth=names[int(pairs[one]) // len(names)],
            predicted=names[int(pairs[one]) % len(names)],
            images=int(counts[one]),
            indices=tuple(indices[wrong[inverse == one][:_IMAGES_PER_CONFUSION]].tolist()),
        )
        for one in order.tolist()
    ]


def _top_misclassifications(
    predictions: Predictions, indices: NDArray[np.int64], names: Sequence[str]
) -> list[Misclassification]:
    """The errors with the highest confidence."""
    predicted, targets = predictions.top_classes[:, 0], predictions.targets
    wrong = np.flatnonzero(predicted != targets)
    shown = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")[:_MAX_SHOWN]]
    return [
        Misclassification(
            index=int(indices[one]),
            truth=names[int(targets[one])],
            predicted=names[int(predicted[one])],
            confidence=float(predictions.confidence[one]),
        )
        for one in shown.tolist()
    ]
