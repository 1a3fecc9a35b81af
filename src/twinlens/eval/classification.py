"""Pictures classified by a weight a class: accuracy, its interval, chance, and every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.distributed import World
from twinlens.eval.embedded import (
    CHUNK,
    Readable,
    check_readable,
    chunk_starts,
    embed_readable,
)
from twinlens.eval.metrics import accuracy, mean_per_class_recall, recall_per_class, top_k
from twinlens.eval.statistics import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.datasets import Dataset, Sample
    from twinlens.embedder import Embedder
    from twinlens.types import Embeddings


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
    lens: Embedder,
    dataset: Dataset,
    choice: Choice,
    *,
    embedded: Readable | None = None,
    world: World | None = None,
) -> Classification:
    """Classify every picture whose label is among the classes, each by its highest logit.

    Args:
        lens: The model.
        dataset: Labelled pictures.
        choice: The classes to choose from.
        embedded: What `embed_samples` gave for this model and data set, if it is there already.
        world: The processes that measure together, each its share of the pictures.

    Raises:
        DataError: There are no such pictures, or more than 1% of them cannot be decoded.
    """
    names = choice.names
    if embedded is None:
        world = world or World()
        found = _joined(world.gathered(_share(lens, dataset, choice, world)))
        unreadable = dict(found.unreadable[place] for place in sorted(found.unreadable))
        check_readable(dataset.name, len(found.targets) + len(found.unreadable), unreadable)
    else:
        read = embedded.of(names)
        found, unreadable = _answers(read.samples, read.embeddings, choice), read.unreadable
    metrics, intervals, chance = _summary(found.ranked, found.targets, len(names))
    return Classification(
        task=choice.task,
        dataset=dataset.name,
        language=choice.language,
        templates=choice.templates,
        metrics=metrics,
        intervals=intervals,
        chance=chance,
        samples=len(found.targets),
        classes=len(names),
        unreadable=unreadable,
        unnamed_classes=sum(label not in names for label in dataset.classnames),
        shared_names=len(names) - len(set(names.values())),
        per_class=_per_class(found.ranked[:, 0], found.targets, list(names.values())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Of some pictures: their classes, the best five for each, and, by place, who has none."""

    targets: NDArray[np.int64]
    ranked: NDArray[np.int64]
    unreadable: dict[int, tuple[str, str]]


def _share(lens: Embedder, dataset: Dataset, choice: Choice, world: World) -> _Answers:
    """The answers for this process's pictures, its share of the data set."""
    every = dataset.samples
    places = world.share(range(len(every)))
    asked = {i: sample for i in places if (sample := every[i]).label in choice.names}
    samples, where = list(asked.values()), list(asked)
    embeddings, failures = embed_readable(lens, samples)
    read = [sample for index, sample in enumerate(samples) if index not in failures]
    unreadable = {where[index]: (samples[index].key, why) for index, why in failures.items()}
    return replace(_answers(read, embeddings, choice), unreadable=unreadable)


def _answers(samples: Sequence[Sample], embeddings: Embeddings, choice: Choice) -> _Answers:
    numbers = {label: number for number, label in enumerate(choice.names)}
    targets = np.array([numbers[str(sample.label)] for sample in samples], np.int64)
    return _Answers(targets=targets, ranked=_ranked(embeddings, choice.weight), unreadable={})


def _joined(parts: Sequence[_Answers]) -> _Answers:
    return _Answers(
        targets=np.concatenate([part.targets for part in parts]),
        ranked=np.concatenate([part.ranked for part in parts]),
        unreadable={place: one for part in parts for place, one in part.unreadable.items()},
    )


def _ranked(embeddings: Embeddings, classifier: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best five classes of each picture, or all where there are fewer."""
    k = min(5, classifier.shape[1])
    chunks = (embeddings[i : i + CHUNK] for i in chunk_starts(len(embeddings)))
    return np.concatenate([top_k(chunk @ classifier, k) for chunk in chunks])


def _summary(
    ranked: NDArray[np.int64], targets: NDArray[np.int64], classes: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]], dict[str, float]]:
    """Metrics, 95% intervals and chance; acc5 only where there are at least five classes."""
    found = {f"acc{k}": accuracy(ranked[:, :k], targets) for k in (1, 5) if k <= classes}
    intervals = {key: wilson_interval(value, len(targets)) for key, value in found.items()}
    chance = {key: int(key.removeprefix("acc")) / classes for key in found}
    found["mean_per_class_recall"] = mean_per_class_recall(ranked[:, 0], targets, classes)
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
