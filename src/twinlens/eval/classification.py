"""Pictures classified by a weight a class: accuracy, how sure it is, chance, and every class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twinlens.distributed import World
from twinlens.eval.embedded import (
    CHUNK,
    Readable,
    check_readable,
    chunk_starts,
    embed_readable,
)
from twinlens.eval.metrics import (
    Calibration,
    accuracy,
    calibration,
    mean_per_class_recall,
    recall_per_class,
    roc_auc,
    softmax_confidence,
    top_k,
)
from twinlens.eval.result import Evidence, Result, samples_digest
from twinlens.eval.statistics import bootstrap, intervals_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset, Sample
    from twinlens.embedder import Embedder
    from twinlens.types import Embeddings

_SHOWN = 12
"""Pairs of classes that are mistaken for each other, and mistakes, that are kept for a report."""

_PICTURES = 4
"""Pictures kept of each such pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class: what it was called, its recall, its pictures, and what it was mistaken for."""

    classname: str
    recall: float
    samples: int
    mistaken_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Pictures of one class that were taken for another; `places` are some of them."""

    truth: str
    predicted: str
    pictures: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A picture that was taken for something else with much confidence.

    Attributes:
        place: Where it is in the data set.
        truth: Its class.
        predicted: What it was taken for.
        confidence: The probability that the model gave that.
    """

    place: int
    truth: str
    predicted: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification(Result):
    """How well pictures were classified.

    The metrics are `acc1`, `acc5` where there are five classes, `mean_per_class_recall`, `ece`
    (the expected calibration error), and `roc_auc` of the second class where there are two.

    Attributes:
        language: Of the class names.
        templates: The sentences that they were put in; none of a classifier's.
        classes: What there was to choose from.
        unnamed_classes: Classes of the data set without a name in the language, left out.
        shared_names: Classes that are called like another one.
        per_class: Every class that has pictures, worst first.
        confusions: Which classes were most often taken for which.
        calibration: How often the model is right where it is how sure.
        mistakes: Those that it was surest of.
    """

    language: str
    templates: tuple[str, ...]
    classes: int
    unnamed_classes: int
    shared_names: int
    per_class: list[ClassResult]
    confusions: list[Confusion]
    calibration: Calibration = field(compare=False)
    mistakes: list[Mistake]

    def details(self) -> dict[str, Any]:
        """Prompts, classes, calibration and mistakes."""
        return {
            "language": self.language,
            "templates": list(self.templates),
            "classes": self.classes,
            "unnamed_classes": self.unnamed_classes,
            "shared_names": self.shared_names,
            "empty_classes": self.classes - len(self.per_class),
            "calibration": self.calibration.to_dict(),
            "per_class": [_plain(one) for one in self.per_class],
            "confusions": [_plain(one) for one in self.confusions],
        }


def _plain(one: object) -> dict[str, Any]:
    return asdict(cast(Any, one))


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

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / len(self.names)


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
    scale = lens.model.logit_scale.exp().item()
    if embedded is None:
        world = world or World()
        found = _joined(world.gathered(_share(lens, dataset, choice, world, scale)))
        unreadable = dict(found.unreadable[place] for place in sorted(found.unreadable))
        check_readable(dataset.name, len(found.targets) + len(found.unreadable), unreadable)
    else:
        read = embedded.of(names)
        check_readable(dataset.name, len(read.samples), {})
        found = _answers(read.samples, read.places, read.embeddings, choice, scale)
        unreadable = read.unreadable
    return _summary(found, unreadable, dataset, choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Of some pictures: where they are, their classes, what they were taken for, and how surely.

    Attributes:
        places: In the data set.
        targets: Their classes' numbers.
        ranked: The best five classes for each.
        confidence: The probability of the best one.
        second: The score of the second class less that of the first, where there are two.
        unreadable: By place, what pictures have no answer.
    """

    places: NDArray[np.int64]
    targets: NDArray[np.int64]
    ranked: NDArray[np.int64]
    confidence: NDArray[np.float32]
    second: NDArray[np.float32]
    unreadable: dict[int, tuple[str, str]]


def _share(
    lens: Embedder, dataset: Dataset, choice: Choice, world: World, scale: float
) -> _Answers:
    """The answers for this process's pictures, its share of the data set."""
    every = dataset.samples
    places = world.share(range(len(every)))
    asked = {i: sample for i in places if (sample := every[i]).label in choice.names}
    samples, where = list(asked.values()), list(asked)
    embeddings, failures = embed_readable(lens, samples)
    read = [index for index in range(len(samples)) if index not in failures]
    unreadable = {where[index]: (samples[index].key, why) for index, why in failures.items()}
    found = _answers(
        [samples[i] for i in read],
        np.array([where[i] for i in read], np.int64),
        embeddings,
        choice,
        scale,
    )
    return replace(found, unreadable=unreadable)


def _answers(
    samples: Sequence[Sample],
    places: NDArray[np.int64],
    embeddings: Embeddings,
    choice: Choice,
    scale: float,
) -> _Answers:
    numbers = {label: number for number, label in enumerate(choice.names)}
    k = min(5, choice.weight.shape[1])
    ranked, confidence, second = [], [], []
    for start in chunk_starts(len(embeddings)):
        scores = embeddings[start : start + CHUNK] @ choice.weight
        ranked.append(top_k(scores, k))
        confidence.append(softmax_confidence(scale * scores).astype(np.float32))
        second.append(scores[:, -1] - scores[:, 0])
    return _Answers(
        places=places,
        targets=np.array([numbers[str(sample.label)] for sample in samples], np.int64),
        ranked=np.concatenate(ranked),
        confidence=np.concatenate(confidence),
        second=np.concatenate(second),
        unreadable={},
    )


def _joined(parts: Sequence[_Answers]) -> _Answers:
    """All answers in the order of the data set: the same however many processes gave them."""
    order = np.argsort(np.concatenate([part.places for part in parts]))

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    return _Answers(
        places=joined("places"),
        targets=joined("targets"),
        ranked=joined("ranked"),
        confidence=joined("confidence"),
        second=joined("second"),
        unreadable={place: one for part in parts for place, one in part.unreadable.items()},
    )


def _summary(
    found: _Answers, unreadable: dict[str, str], dataset: Dataset, choice: Choice
) -> Classification:
    names = list(choice.names.values())
    predicted, targets = found.ranked[:, 0], found.targets
    metrics = _metrics(found, slice(None), len(names))
    replicates = bootstrap(lambda drawn: _metrics(found, drawn, len(names)), len(targets))
    right = {
        f"acc{k}": (found.ranked[:, :k] == targets[:, None]).any(axis=1)
        for k in (1, 5)
        if k <= len(names)
    }
    every = dataset.samples
    kept = (every[place] for place in found.places.tolist())
    return Classification(
        task=choice.task,
        dataset=dataset.name,
        language=choice.language,
        templates=choice.templates,
        metrics=metrics,
        intervals=intervals_of(replicates, metrics, len(targets)),
        chance=_chance(metrics, len(names)),
        samples=len(targets),
        classes=len(names),
        unreadable=unreadable,
        unnamed_classes=sum(label not in choice.names for label in dataset.classnames),
        shared_names=len(names) - len(set(names)),
        per_class=_per_class(predicted, targets, names),
        confusions=_confusions(found, names),
        calibration=calibration(found.confidence, predicted == targets),
        mistakes=_mistakes(found, names),
        evidence=Evidence(
            samples=samples_digest((one.key, one.label) for one in kept),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
            right=right,
        ),
    )


def _metrics(found: _Answers, drawn: slice | NDArray[np.int64], classes: int) -> dict[str, float]:
    """The metrics of some of the answers; acc5 only where there are at least five classes."""
    ranked, targets = found.ranked[drawn], found.targets[drawn]
    metrics = {f"acc{k}": accuracy(ranked[:, :k], targets) for k in (1, 5) if k <= classes}
    metrics["mean_per_class_recall"] = mean_per_class_recall(ranked[:, 0], targets, classes)
    metrics["ece"] = calibration(found.confidence[drawn], ranked[:, 0] == targets).ece
    if classes == 2 and len(np.unique(found.targets)) == 2:
        both = 0 < targets.sum() < len(targets)  # a resample may lack one of them
        metrics["roc_auc"] = roc_auc(found.second[drawn], targets == 1) if both else math.nan
    return metrics


def _chance(metrics: Mapping[str, float], classes: int) -> dict[str, float]:
    guessed = {"acc1": 1 / classes, "acc5": 5 / classes, "mean_per_class_recall": 1 / classes}
    return {key: value for key, value in (guessed | {"roc_auc": 0.5}).items() if key in metrics}


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


def _confusions(found: _Answers, names: Sequence[str]) -> list[Confusion]:
    """The pairs of classes that most pictures were mistaken in."""
    predicted, targets = found.ranked[:, 0], found.targets
    wrong = np.flatnonzero(predicted != targets)
    pairs, where, counts = np.unique(
        targets[wrong] * len(names) + predicted[wrong], return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:_SHOWN]
    return [
        Confusion(
            truth=names[int(pairs[one]) // len(names)],
            predicted=names[int(pairs[one]) % len(names)],
            pictures=int(counts[one]),
            places=tuple(found.places[wrong[where == one][:_PICTURES]].tolist()),
        )
        for one in order.tolist()
    ]


def _mistakes(found: _Answers, names: Sequence[str]) -> list[Mistake]:
    """The wrong answers that the model was surest of."""
    wrong = np.flatnonzero(found.ranked[:, 0] != found.targets)
    surest = wrong[np.argsort(-found.confidence[wrong], kind="stable")[:_SHOWN]]
    return [
        Mistake(
            place=int(found.places[one]),
            truth=names[int(found.targets[one])],
            predicted=names[int(found.ranked[one, 0])],
            confidence=float(found.confidence[one]),
        )
        for one in surest.tolist()
    ]
