"""Images classified by a weight a class: accuracy, how sure it is, chance, and every class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from twinlens.distributed.world import World
from twinlens.embed.dataset import CHUNK, Readable, check_readable, chunk_starts, embed_readable
from twinlens.errors import DataError
from twinlens.eval.metrics.classification import Calibration, recall_per_class
from twinlens.eval.metrics.predictions import Tally, joined, tally
from twinlens.eval.metrics.statistics import intervals_of
from twinlens.eval.results.result import Evidence, Result, samples_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset, Sample
    from twinlens.embed.embedder import Embedder
    from twinlens.types import Embeddings

_SHOWN = 12
"""Pairs of classes that are mistaken for each other, and mistakes, that are kept for a report."""

_IMAGES = 4
"""Images kept of each such pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """One class: what it was called, its recall, its images, and what it was mistaken for."""

    classname: str
    recall: float
    samples: int
    mistaken_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Images of one class that were taken for another; `places` are some of them."""

    truth: str
    predicted: str
    images: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """An image that was taken for something else with much confidence.

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
    """How well images were classified.

    The metrics are `acc1`, `acc5` where there are five classes, `mean_per_class_recall`, `ece`
    (the expected calibration error), and `roc_auc` of the second class where there are two.

    Attributes:
        language: Of the class names.
        templates: The sentences that they were put in; none of a classifier's.
        classes: What there was to choose from.
        unnamed_classes: Classes of the data set without a name in the language, left out.
        shared_names: The labels of classes that are called alike, by the first one's name. Where
            the model reads the names alike too, the first of them gets all answers.
        per_class: Every class that has images, worst first.
        confusions: Which classes were most often taken for which.
        calibration: How often the model is right where it is how sure.
        mistakes: Those that it was surest of.
    """

    language: str
    templates: tuple[str, ...]
    classes: int
    unnamed_classes: int
    shared_names: Mapping[str, tuple[str, ...]]
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
            "shared_names": {key: list(one) for key, one in self.shared_names.items()},
            "empty_classes": self.classes - len(self.per_class),
            "calibration": self.calibration.to_dict(),
            "per_class": [_plain(one) for one in self.per_class],
            "confusions": [_plain(one) for one in self.confusions],
        }


def _plain(one: object) -> dict[str, Any]:
    return asdict(cast(Any, one))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What images are classified among: classes, each with a weight.

    Attributes:
        task: As in `Classification`.
        names: What each class is called by its label, in the order of the weights.
        weight: Unit vectors or a classifier's weights: float32 [embed, class].
        language: Of the names.
        templates: The sentences that the weights are of, if any.
        shared_names: As in `Classification`.
    """

    task: str
    names: Mapping[str, str]
    weight: NDArray[np.float32]
    language: str = "en"
    templates: tuple[str, ...] = ()
    shared_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def scores(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """How well each class fits each image: float32 [image, class].

        Those of classes with equal weights are equal to the last bit. A product rounds columns
        differently by where they stand, which would decide between them.
        """
        known: dict[bytes, int] = {}
        columns = np.ascontiguousarray(self.weight.T)
        where = [known.setdefault(column.tobytes(), len(known)) for column in columns]
        if len(known) == len(where):
            return embeddings @ self.weight
        kept = [where.index(number) for number in range(len(known))]
        return (embeddings @ self.weight[:, kept])[:, where]

    @property
    def shown(self) -> list[str]:
        """What to call each class where it must not be taken for another."""
        times = Counter(self.names.values())
        return [
            name if times[name] == 1 or name == label else _with_label(name, label)
            for label, name in self.names.items()
        ]

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / len(self.names)


def _with_label(name: str, label: str) -> str:
    """A name that several classes have, and which of them it is: `crane (2)`, `rot (blue)`."""
    return label if label.startswith(f"{name} (") else f"{name} ({label})"


def measure_choice(
    lens: Embedder,
    dataset: Dataset,
    choice: Choice,
    *,
    embedded: Readable | None = None,
    world: World | None = None,
) -> Classification:
    """Classify every image whose label is among the classes, each by its highest logit.

    Args:
        lens: The model.
        dataset: Labelled images.
        choice: The classes to choose from.
        embedded: What `embed_samples` gave for this model and data set, if it is there already.
        world: The processes that measure together, each its share of the images.

    Raises:
        DataError: There are no such images, they have several labels each, or more than 1% of
            them cannot be decoded.
    """
    if dataset.multi_label:
        raise DataError(f"{dataset.name}: got images with several labels, expected one each")
    names = choice.names
    scale = lens.model.logit_scale.exp().item()
    if embedded is None:
        world = world or World()
        found = _joined(world.gathered(_share(lens, dataset, choice, world, scale)))
        unreadable = dict(found.unreadable[place] for place in sorted(found.unreadable))
        count = len(found.places) + len(found.unreadable)
        check_readable(dataset.name, count, unreadable)
    else:
        read = embedded.of(names)
        check_readable(dataset.name, len(read.samples), {})
        tallied = _tally(read.samples, read.embeddings, choice, scale)
        found = _Answers(places=read.places, tally=tallied, unreadable={})
        unreadable = read.unreadable
    return _summary(found, unreadable, dataset, choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Of some images: where they are in the data set, and what they were taken for.

    Images without an answer are by their place in `unreadable`.
    """

    places: NDArray[np.int64]
    tally: Tally
    unreadable: dict[int, tuple[str, str]]


def _share(
    lens: Embedder, dataset: Dataset, choice: Choice, world: World, scale: float
) -> _Answers:
    """The answers for this process's images, its share of the data set."""
    every = dataset.samples
    places = world.share(range(len(every)))
    asked = {i: sample for i in places if (sample := every[i]).label in choice.names}
    samples, where = list(asked.values()), list(asked)
    embeddings, failures = embed_readable(lens, samples)
    read = [index for index in range(len(samples)) if index not in failures]
    return _Answers(
        places=np.array([where[i] for i in read], np.int64),
        tally=_tally([samples[i] for i in read], embeddings, choice, scale),
        unreadable={where[i]: (samples[i].key, why) for i, why in failures.items()},
    )


def _tally(
    samples: Sequence[Sample], embeddings: Embeddings, choice: Choice, scale: float
) -> Tally:
    numbers = {label: number for number, label in enumerate(choice.names)}
    targets = np.array([numbers[str(sample.label)] for sample in samples], np.int64)
    chunks = [slice(start, start + CHUNK) for start in chunk_starts(len(samples))]
    return joined([tally(choice.scores(embeddings[c]), targets[c], scale=scale) for c in chunks])


def _joined(parts: Sequence[_Answers]) -> _Answers:
    """All answers in the order of the data set: the same however many processes gave them."""
    places = np.concatenate([part.places for part in parts])
    order = np.argsort(places)
    return _Answers(
        places=places[order],
        tally=joined([part.tally for part in parts]).at(order),
        unreadable={place: one for part in parts for place, one in part.unreadable.items()},
    )


def _summary(
    found: _Answers, unreadable: dict[str, str], dataset: Dataset, choice: Choice
) -> Classification:
    names, tallied = choice.shown, found.tally
    metrics, replicates = tallied.metrics, tallied.replicates()
    every, count = dataset.samples, len(tallied.targets)
    kept = (every[place] for place in found.places.tolist())
    return Classification(
        task=choice.task,
        dataset=dataset.name,
        language=choice.language,
        templates=choice.templates,
        metrics=metrics,
        intervals=intervals_of(replicates, metrics, count),
        chance=tallied.chance,
        samples=count,
        classes=len(names),
        unreadable=unreadable,
        unnamed_classes=sum(label not in choice.names for label in dataset.classnames),
        shared_names=choice.shared_names,
        per_class=_per_class(tallied.ranked[:, 0], tallied.targets, names),
        confusions=_confusions(found, names),
        calibration=tallied.calibration,
        mistakes=_mistakes(found, names),
        evidence=Evidence(
            samples=samples_digest((one.key, one.label) for one in kept),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
            right=tallied.right,
        ),
    )


def _per_class(
    predicted: NDArray[np.int64], targets: NDArray[np.int64], names: Sequence[str]
) -> list[ClassResult]:
    """Every class that has images, worst first."""
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
    """The pairs of classes that most images were mistaken in."""
    predicted, targets = found.tally.ranked[:, 0], found.tally.targets
    wrong = np.flatnonzero(predicted != targets)
    pairs, where, counts = np.unique(
        targets[wrong] * len(names) + predicted[wrong], return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:_SHOWN]
    return [
        Confusion(
            truth=names[int(pairs[one]) // len(names)],
            predicted=names[int(pairs[one]) % len(names)],
            images=int(counts[one]),
            places=tuple(found.places[wrong[where == one][:_IMAGES]].tolist()),
        )
        for one in order.tolist()
    ]


def _mistakes(found: _Answers, names: Sequence[str]) -> list[Mistake]:
    """The wrong answers that the model was surest of."""
    tallied = found.tally
    predicted, targets = tallied.ranked[:, 0], tallied.targets
    wrong = np.flatnonzero(predicted != targets)
    surest = wrong[np.argsort(-tallied.confidence[wrong], kind="stable")[:_SHOWN]]
    return [
        Mistake(
            place=int(found.places[one]),
            truth=names[int(targets[one])],
            predicted=names[int(predicted[one])],
            confidence=float(tallied.confidence[one]),
        )
        for one in surest.tolist()
    ]
