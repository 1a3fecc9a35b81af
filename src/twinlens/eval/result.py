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
        samples: Pictures that were read.
        unreadable: What ails the other pictures, by their keys.
        references: What supervised models reach.
        notes: What was left out, or is to be known beside the figures, a sentence each.
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
        } | self.details()


def samples_digest(names: Iterable[object]) -> str:
    """Sixteen hexadecimal digits that are others for other samples, or in another order."""
    digest = hashlib.blake2b(digest_size=8)
    for name in names:
        digest.update(ascii(name).encode() + b"\n")
    return digest.hexdigest()
