"""The result of a task on a data set, with evidence for comparing two models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Interval = tuple[float, float]
"""Lower and upper end of a 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceScore:
    """The score of a supervised model, for comparison.

    Attributes:
        metric: Key of the metric.
        value: Value in the metric's unit.
        model: Name of the model.
        source: Publication or directory that the value is from.
    """

    metric: str
    value: float
    model: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A summary of the single predictions: enough to compare two models on the same samples.

    Attributes:
        samples_digest: A digest of the samples' keys and classes, in order; results with different
            ones cannot be compared.
        replicates: Each metric on 1,000 resamples of the samples, the same resamples for every
            model: float32 [replicate].
        correct: By metric, true for each sample that was right: bool [sample]. Only of metrics that
            are fractions of samples.
    """

    samples_digest: str = ""
    replicates: dict[str, NDArray[np.float32]] = field(
        default_factory=dict[str, "NDArray[np.float32]"]
    )
    correct: dict[str, NDArray[np.bool_]] = field(default_factory=dict[str, "NDArray[np.bool_]"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """The metrics of a task on a data set. Metric keys are CLIP_benchmark's where it has one.

    Attributes:
        task: CLIP_benchmark's name of the task, such as "zeroshot_classification".
        dataset: The data set's name.
        metrics: The metrics by their keys.
        intervals: Their 95% intervals.
        chance: The metrics of guessing, where they have a chance level.
        num_samples: Number of images that were decoded.
        unreadable: Why the other images cannot be decoded, by their keys.
        references: Scores of supervised models.
        notes: Remarks on the metrics, a sentence each.
        left_out: What the data set leaves out, as `LeftOut.as_json` gives it.
        evidence: A summary of the single predictions.
    """

    task: str
    dataset: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    chance: dict[str, float]
    num_samples: int
    unreadable: dict[str, str]
    references: tuple[ReferenceScore, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)
    evidence: Evidence = field(default_factory=Evidence, compare=False, repr=False)

    def details(self) -> dict[str, Any]:
        """Fields of the task, as plain JSON types."""
        return {}

    def all_notes(self) -> list[str]:
        """The notes, and what the task's own counts say was left out or is ambiguous."""
        return list(self.notes)

    def to_dict(self, *, model: str, pretrained: str) -> dict[str, Any]:
        """Plain JSON types: CLIP_benchmark's keys, then those that it does not have."""
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
            "samples": self.num_samples,
            "unreadable": [{"image": k, "reason": why} for k, why in self.unreadable.items()],
            "notes": list(self.notes),
            "left_out": self.left_out,
        } | self.details()


def shared_name_notes(shared_names: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A sentence for each name that several classes have."""
    return [
        f"{len(labels)} classes are called {name!r}: {', '.join(labels)}; where the model reads "
        "their names alike, the first of them gets all answers"
        for name, labels in shared_names.items()
    ]


def digest_samples(items: Iterable[object]) -> str:
    """Sixteen hexadecimal digits that identify samples and their order."""
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update(ascii(item).encode() + b"\n")
    return digest.hexdigest()
