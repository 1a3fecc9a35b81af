"""Pictures classified by a weight a class: accuracy, its interval, chance, and every class."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.errors import DataError
from twinlens.eval.metrics import accuracy, recall_per_class, top_k, wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.datasets import Dataset, Sample
    from twinlens.embedder import Embedder
    from twinlens.types import Embeddings, ImageInput

MAX_UNREADABLE = 0.01
_CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """The samples whose pictures could be decoded, their embeddings, and what ails the others."""

    samples: list[Sample]
    embeddings: Embeddings
    unreadable: dict[str, str]

    def of(self, labels: Container[str | None]) -> Readable:
        """The part whose labels are among these."""
        kept = [i for i, sample in enumerate(self.samples) if sample.label in labels]
        return Readable(
            samples=[self.samples[i] for i in kept],
            embeddings=self.embeddings[kept],
            unreadable=self.unreadable,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class: what it was called, its recall, its pictures, and what it was mistaken for."""

    classname: str
    recall: float
    samples: int
    mistaken_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """How well pictures were classified. Metric keys are CLIP_benchmark's; `chance` guesses.

    Attributes:
        task: "zeroshot_classification" or "classifier".
        dataset: The data set's name.
        language: Of the class names.
        templates: The sentences that they were put in; none of a classifier's.
        metrics: `acc1`, `acc5` where there are five classes, `mean_per_class_recall`.
        intervals: The 95% intervals of the accuracies.
        chance: What guessing uniformly reaches.
        samples: Pictures that were read.
        classes: What there was to choose from.
        unreadable: What ails the other pictures, by their keys.
        unnamed_classes: Classes of the data set without a name in the language, left out.
        shared_names: Classes that are called like another one.
        per_class: Every class that has pictures, worst first.
    """

    task: str
    dataset: str
    language: str
    templates: tuple[str, ...]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    chance: dict[str, float]
    samples: int
    classes: int
    unreadable: dict[str, str]
    unnamed_classes: int
    shared_names: int
    per_class: list[ClassResult]

    def to_dict(self, *, model: str, pretrained: str) -> dict[str, Any]:
        """As plain JSON types: CLIP_benchmark's keys, then what it does not report."""
        return {
            "dataset": self.dataset,
            "model": model,
            "pretrained": pretrained,
            "task": self.task,
            "metrics": self.metrics,
            "language": self.language,
            "intervals": {key: list(interval) for key, interval in self.intervals.items()},
            "chance": self.chance,
            "templates": list(self.templates),
            "samples": self.samples,
            "classes": self.classes,
            "unnamed_classes": self.unnamed_classes,
            "shared_names": self.shared_names,
            "unreadable": [{"image": k, "reason": why} for k, why in self.unreadable.items()],
            "per_class": [
                {
                    "classname": one.classname,
                    "recall": one.recall,
                    "samples": one.samples,
                    "mistaken_for": one.mistaken_for,
                }
                for one in self.per_class
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What pictures are classified among: classes, each with a weight.

    Attributes:
        task: As in `Classification`.
        names: What each class is called by its label, in the order of the weights.
        weight: Unit vectors or a classifier's weights: float32 [embed, class].
        language: Of the names.
        templates: The sentences that the weights are of, if any.
    """

    task: str
    names: Mapping[str, str]
    weight: NDArray[np.float32]
    language: str = "en"
    templates: tuple[str, ...] = ()


def measure_choice(
    lens: Embedder, dataset: Dataset, choice: Choice, embedded: Readable | None = None
) -> Classification:
    """Classify every picture whose label is among the classes, each by its highest logit.

    Args:
        lens: The model.
        dataset: Labelled pictures.
        choice: The classes to choose from.
        embedded: What `embed_samples` gave for this model and data set, if it is there already.

    Raises:
        DataError: There are no such pictures, or more than 1% of them cannot be decoded.
    """
    names = choice.names
    if embedded is None:
        labelled = [sample for sample in dataset.samples if sample.label in names]
        read = embed_samples(lens, labelled, dataset.name)
    else:
        read = embedded.of(names)
    numbers = {label: number for number, label in enumerate(names)}
    targets = np.array([numbers[str(sample.label)] for sample in read.samples])
    ranked = _ranked(read.embeddings, choice.weight)
    metrics, intervals, chance = _summary(ranked, targets, len(names))
    return Classification(
        task=choice.task,
        dataset=dataset.name,
        language=choice.language,
        templates=choice.templates,
        metrics=metrics,
        intervals=intervals,
        chance=chance,
        samples=len(targets),
        classes=len(names),
        unreadable=read.unreadable,
        unnamed_classes=sum(label not in names for label in dataset.classnames),
        shared_names=len(names) - len(set(names.values())),
        per_class=_per_class(ranked[:, 0], targets, list(names.values())),
    )


def embed_samples(lens: Embedder, samples: Sequence[Sample], dataset_name: str) -> Readable:
    """Embed the pictures of samples, leaving out those that cannot be decoded.

    Raises:
        DataError: There are no samples, or more than 1% cannot be decoded.
    """
    parts: list[Embeddings] = []
    unreadable: dict[int, str] = {}
    for start in range(0, len(samples), _CHUNK):
        pictures: dict[int, ImageInput] = {}
        for index in range(start, min(start + _CHUNK, len(samples))):
            try:
                pictures[index] = _picture(samples[index])
            except DataError as error:
                unreadable[index] = str(error)
        embeddings, failures = lens.embed_readable_images(pictures.values())
        parts.append(embeddings)
        indices = list(pictures)
        for place, error in failures.items():
            unreadable[indices[place]] = str(error).removeprefix("<bytes>: ")
    named = {samples[index].key: why for index, why in sorted(unreadable.items())}
    _check_readable(dataset_name, len(samples), named)
    kept = [sample for index, sample in enumerate(samples) if index not in unreadable]
    return Readable(samples=kept, embeddings=np.concatenate(parts), unreadable=named)


def _picture(sample: Sample) -> ImageInput:
    return sample.source if isinstance(sample.source, Path) else sample.image_bytes()


def _check_readable(dataset_name: str, samples: int, unreadable: Mapping[str, str]) -> None:
    if samples == 0:
        raise DataError(f"{dataset_name}: got no labelled pictures, expected at least one")
    if len(unreadable) > MAX_UNREADABLE * samples:
        key, reason = next(iter(unreadable.items()))
        raise DataError(
            f"{dataset_name}: {len(unreadable)} of {samples} pictures cannot be read, "
            f"expected at most {MAX_UNREADABLE:.0%}; the first is {key}: {reason}"
        )


def _ranked(embeddings: Embeddings, classifier: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best five classes of each picture, or all where there are fewer."""
    k = min(5, classifier.shape[1])
    chunks = range(0, len(embeddings), _CHUNK)  # the full score matrix need not fit in memory
    return np.concatenate([top_k(embeddings[i : i + _CHUNK] @ classifier, k) for i in chunks])


def _summary(
    ranked: NDArray[np.int64], targets: NDArray[np.int64], classes: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]], dict[str, float]]:
    """Metrics, 95% intervals and chance; acc5 only where there are at least five classes."""
    found = {f"acc{k}": accuracy(ranked[:, :k], targets) for k in (1, 5) if k <= classes}
    intervals = {key: wilson_interval(value, len(targets)) for key, value in found.items()}
    chance = {key: int(key.removeprefix("acc")) / classes for key in found}
    recall, samples = recall_per_class(ranked[:, 0], targets, classes)
    found["mean_per_class_recall"] = float(recall[samples > 0].mean())
    return found, intervals, chance | {"mean_per_class_recall": 1 / classes}


def _per_class(
    predicted: NDArray[np.int64], targets: NDArray[np.int64], names: Sequence[str]
) -> list[ClassResult]:
    """Every class that has pictures, worst first."""
    recall, samples = recall_per_class(predicted, targets, len(names))
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
