"""What one task measured of a model on one data set, and what two models can be compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a supervised model reaches, to hold a figure against.

    Attributes:
        metric: The key of the metric that it is of.
        value: In the metric's unit.
        model: What reached it.
        source: Where the figure is from.
    """

    metric: str
    value: float
    model: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What stays of the single answers: enough to compare two models on the same samples.

    Attributes:
        samples: A digest of the samples' keys and classes, in order; others cannot be compared.
        replicates: Each metric on 1,000 resamples of the samples, the same resamples for every
            model: float32 [replicate].
        right: By metric, whether each sample was right: bool [sample]. Only of metrics that are
            fractions of samples.
    """

    samples: str = ""
    replicates: dict[str, NDArray[np.float32]] = field(
        default_factory=dict[str, "NDArray[np.float32]"]
    )
    right: dict[str, NDArray[np.bool_]] = field(default_factory=dict[str, "NDArray[np.bool_]"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of a task on a data set. Metric keys are CLIP_benchmark's where it has one.

    Attributes:
        task: As CLIP_benchmark calls it, such as "zeroshot_classification".
        dataset: The data set's name.
        metrics: The figures.
        intervals: Their 95% intervals.
        chance: What guessing reaches, of those metrics where that means something.
        samples: Images that were read.
        unreadable: What ails the other images, by their keys.
        references: What supervised models reach.
        notes: What is to be known beside the figures, a sentence each.
        left_out: What the data set leaves out, as `LeftOut.as_json` gives it.
        evidence: Of the single answers.
    """

    task: str
    dataset: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    chance: dict[str, float]
    samples: int
    unreadable: dict[str, str]
    references: tuple[Reference, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)
    evidence: Evidence = field(default_factory=Evidence, compare=False, repr=False)

    def details(self) -> dict[str, Any]:
        """What else there is to say, as plain JSON types."""
        return {}

    def to_dict(self, *, model: str, pretrained: str) -> dict[str, Any]:
        """As plain JSON types: CLIP_benchmark's keys, then what it does not report."""
        return {
            "dataset": self.dataset,
            "model": model,
            "pretrained": pretrained,
            "task": self.task,
            "metrics": self.metrics,
            "language": "en",
            "intervals": {key: list(interval) for key, interval in self.intervals.items()},
            "chance": self.chance,
            "references": [
                {"metric": r.metric, "value": r.value, "model": r.model, "source": r.source}
                for r in self.references
            ],
            "samples": self.samples,
            "unreadable": [{"image": k, "reason": why} for k, why in self.unreadable.items()],
            "notes": list(self.notes),
            "left_out": self.left_out,
        } | self.details()


def samples_digest(names: Iterable[object]) -> str:
    """Sixteen hexadecimal digits that are others for other samples, or in another order."""
    digest = hashlib.blake2b(digest_size=8)
    for name in names:
        digest.update(ascii(name).encode() + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A candidate that came up for a query: a text, or an image by its place in the data set."""

    text: str | None
    place: int | None
    score: float
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A query, the rank (from 1) at which the first right candidate came, and the best found.

    A query is a text or an image, which then has a place in the data set.
    """

    text: str | None
    place: int | None
    rank: int
    found: tuple[Found, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalResult(Result):
    """Whether the right text comes up for an image, and the right image for a text.

    The metrics are `image_retrieval_recall@k` (of texts that find their image) and
    `text_retrieval_recall@k` (of images that find one of their texts), as CLIP_benchmark has
    them, and the median rank (from 1) of either.

    Attributes:
        texts: Captions of the images.
        uncaptioned: Images without one: candidates for texts, but no queries.
        cut_texts: Captions that were longer than the model's context, and cut.
        examples: Queries that went well and queries that went worst.
    """

    texts: int
    uncaptioned: int
    cut_texts: int
    examples: list[Example]

    def details(self) -> dict[str, Any]:
        """Counts of texts."""
        return {"texts": self.texts, "uncaptioned": self.uncaptioned, "cut_texts": self.cut_texts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shots:
    """A probe of so many images a class: its accuracy on the test images, seed by seed."""

    shots: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult(Result):
    """What a linear classifier on the model's features reaches (paper section 3.2).

    The metrics are `acc1`, `acc5` where there are five classes, `mean_per_class_recall` and `ece`.

    Attributes:
        classes: How many.
        train: Images that it learned from in the end, those of validation among them.
        validation: Images that the strength was chosen by.
        strength: Of the L2 penalty.
        tried: Accuracy on the validation images by strength.
        shots: With few images a class.
    """

    classes: int
    train: int
    validation: int
    strength: float
    tried: dict[float, float]
    shots: list[Shots]

    def details(self) -> dict[str, Any]:
        """Sizes, the sweep, and the few-shot probes."""
        return {
            "classes": self.classes,
            "train": self.train,
            "validation": self.validation,
            "strength": self.strength,
            "tried": {f"{key:.6g}": value for key, value in self.tried.items()},
            "shots": [
                {"shots": s.shots, "mean": s.mean, "accuracies": list(s.accuracies)}
                for s in self.shots
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifted:
    """The same classes in another data set.

    Attributes:
        dataset: Its name.
        accuracy: Top-1.
        interval: Its 95% interval.
        samples: Its images.
        effective: The accuracy beyond what supervised models of this standard accuracy have
            (Taori et al. 2020); None where no such models were given.
    """

    dataset: str
    accuracy: float
    interval: Interval
    samples: int
    effective: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessResult(Result):
    """What is left of an accuracy where images are not as those of the standard set.

    The metrics are `acc1` on the standard set, `corrupted_acc1` (the mean over corruptions and
    severities), `retained` (that as a share of `acc1`), `acc1@NAME` of each shifted set and
    `effective_robustness@NAME`.

    Attributes:
        by: What classified: "names" or "classifier".
        classes: How many.
        corruptions: By corruption, top-1 at severities 1 to 5.
        shifted: The other sets.
        baseline: (standard, shifted) accuracies of supervised models, by shifted set.
    """

    by: str
    classes: int
    corruptions: dict[str, tuple[float, ...]]
    shifted: list[Shifted]
    baseline: dict[str, list[tuple[float, float]]]

    def details(self) -> dict[str, Any]:
        """Every corruption and every shifted set."""
        return {
            "by": self.by,
            "classes": self.classes,
            "corruptions": {name: list(found) for name, found in self.corruptions.items()},
            "shifted": [
                {
                    "dataset": s.dataset,
                    "accuracy": s.accuracy,
                    "interval": list(s.interval),
                    "samples": s.samples,
                    "effective": s.effective,
                }
                for s in self.shifted
            ],
            "baseline": self.baseline,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPair:
    """An image, its caption, and how well the model finds that they fit."""

    key: str
    place: int
    caption: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresResult(Result):
    """How well captions fit their images (Hessel et al. 2021).

    The metrics are `clip_score`, the mean over images of that of the first caption, and
    `ref_clip_score`, where the other captions are references.

    Attributes:
        cut_texts: Captions that were longer than the model's context, and cut.
        pairs: Every image with its first caption, worst first.
    """

    cut_texts: int
    pairs: list[ScoredPair]

    def details(self) -> dict[str, Any]:
        """How many captions were cut."""
        return {"cut_texts": self.cut_texts}
