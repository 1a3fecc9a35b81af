"""The figures of a classification, of all its samples and of resamples of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twinlens.eval.metrics.classification import (
    Calibration,
    accuracy,
    calibration,
    mean_per_class_recall,
    roc_auc,
    softmax_confidence,
    top_k,
)
from twinlens.eval.metrics.statistics import bootstrap

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEST = 5
"""Classes that are kept of each sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What samples are, and what they were taken for, and how surely.

    Attributes:
        targets: Their classes' numbers: int64 [sample].
        ranked: The best five classes for each, or all where there are fewer: int64 [sample k].
        confidence: The probability of the best one: float32 [sample].
        margin: Of the last class over the first, which ranks samples where there are two classes:
            float32 [sample].
        classes: How many there are.
    """

    targets: NDArray[np.int64]
    ranked: NDArray[np.int64]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    classes: int

    def at(self, rows: NDArray[np.int64]) -> Tally:
        """These samples alone, in this order."""
        return Tally(
            targets=self.targets[rows],
            ranked=self.ranked[rows],
            confidence=self.confidence[rows],
            margin=self.margin[rows],
            classes=self.classes,
        )

    @property
    def ks(self) -> tuple[int, ...]:
        """Of the accuracies: the second only where there are five classes."""
        return tuple(k for k in (1, BEST) if k <= self.classes)

    @property
    def right(self) -> dict[str, NDArray[np.bool_]]:
        """Whether each sample's class is among its best."""
        hits = self.ranked == self.targets[:, None]
        return {f"acc{k}": hits[:, :k].any(axis=1) for k in self.ks}

    @property
    def calibration(self) -> Calibration:
        """How often the best class is right, by how sure it is."""
        return calibration(self.confidence, self.ranked[:, 0] == self.targets)

    @property
    def metrics(self) -> dict[str, float]:
        """`acc1`, `acc5`, `mean_per_class_recall`, `ece`; of two classes also `roc_auc`."""
        ranked, targets = self.ranked, self.targets
        found = {f"acc{k}": accuracy(ranked[:, :k], targets) for k in self.ks}
        recall = mean_per_class_recall(ranked[:, 0], targets, self.classes)
        found |= {"mean_per_class_recall": recall, "ece": self.calibration.ece}
        if self._ranks_two:
            found["roc_auc"] = roc_auc(self.margin, targets == 1)
        return found

    @property
    def chance(self) -> dict[str, float]:
        """What guessing reaches in those metrics that have a sense of it."""
        guessed = {f"acc{k}": k / self.classes for k in self.ks}
        guessed["mean_per_class_recall"] = 1 / self.classes
        return guessed | ({"roc_auc": 0.5} if self._ranks_two else {})

    def replicates(self) -> dict[str, NDArray[np.float64]]:
        """`metrics` of resamples, float64 [times] each; nan where a resample has one class only.

        By how often each sample was drawn, which takes a sixth of the time of drawing them. For the
        mean over classes a sample counts as it does in the whole, the more the fewer its class has:
        a resample lacks classes of few samples, and its own mean over the others varies too little.
        """
        count = len(self.targets)
        right = {key: one.astype(np.float64) for key, one in self.right.items()}
        gap = right["acc1"] - self.confidence
        edges = self.calibration.lower_edges
        place = np.searchsorted(edges[1:], self.confidence.astype(np.float64))
        weight = 1 / np.bincount(self.targets, minlength=self.classes)[self.targets]

        def measure(drawn: NDArray[np.int64]) -> dict[str, float]:
            times = np.bincount(drawn, minlength=count).astype(np.float64)
            found = {key: float(times @ one) / count for key, one in right.items()}
            weighed = times * weight
            found["mean_per_class_recall"] = float(weighed @ right["acc1"] / weighed.sum())
            gaps = np.bincount(place, weights=times * gap, minlength=len(edges))
            found["ece"] = float(np.abs(gaps).sum()) / count
            if self._ranks_two:
                positive = self.targets[drawn] == 1
                both = 0 < positive.sum() < count
                found["roc_auc"] = roc_auc(self.margin[drawn], positive) if both else math.nan
            return found

        return bootstrap(measure, count)

    @property
    def _ranks_two(self) -> bool:
        return self.classes == 2 and len(np.unique(self.targets)) == 2


def tally(scores: NDArray[np.float32], targets: NDArray[np.int64], *, scale: float = 1.0) -> Tally:
    """Of some samples' scores for each class, float32 [sample class].

    Args:
        scores: Higher is likelier.
        targets: The classes' numbers.
        scale: What makes logits of scores, such as the exponentiated `logit_scale` of cosines.
    """
    return Tally(
        targets=targets,
        ranked=top_k(scores, min(BEST, scores.shape[1])),
        confidence=softmax_confidence(scale * scores).astype(np.float32),
        margin=scores[:, -1] - scores[:, 0],
        classes=scores.shape[1],
    )


def joined(parts: Sequence[Tally]) -> Tally:
    """The samples of all parts, in order."""
    return Tally(
        targets=np.concatenate([part.targets for part in parts]),
        ranked=np.concatenate([part.ranked for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        margin=np.concatenate([part.margin for part in parts]),
        classes=parts[0].classes,
    )
