"""Predictions of a classification and their metrics, of all samples and of resamples."""

from __future__ import annotations

import math
from collections.abc import Callable
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

    from twinlens.types import Embeddings

TOP_K = 5
"""Best classes that are stored of each sample."""

_CHUNK_SIZE = 2048
"""Samples whose scores are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The classes of samples and the predicted ones, with their confidence.

    Attributes:
        targets: Class of each sample: int64 [sample].
        top_classes: The best five classes for each, or all where there are fewer: int64 [sample k].
        confidence: Probability of the best one: float32 [sample].
        margin: Score of the last class minus that of the first, which ranks samples where there are
            two classes: float32 [sample].
        num_classes: Number of classes.
    """

    targets: NDArray[np.int64]
    top_classes: NDArray[np.int64]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    num_classes: int

    @property
    def ks(self) -> tuple[int, ...]:
        """The k of each accuracy: 1, and 5 where there are so many classes."""
        return tuple(k for k in (1, TOP_K) if k <= self.num_classes)

    @property
    def correct(self) -> dict[str, NDArray[np.bool_]]:
        """True for each sample whose class is among its best k, by metric."""
        hits = self.top_classes == self.targets[:, None]
        return {f"acc{k}": hits[:, :k].any(axis=1) for k in self.ks}

    @property
    def calibration(self) -> Calibration:
        """Accuracy of the best class by confidence."""
        return calibration(self.confidence, self.top_classes[:, 0] == self.targets)

    @property
    def metrics(self) -> dict[str, float]:
        """`acc1`, `acc5`, `mean_per_class_recall`, `ece`; of two classes also `roc_auc`."""
        ranked, targets = self.top_classes, self.targets
        metrics = {f"acc{k}": accuracy(ranked[:, :k], targets) for k in self.ks}
        recall = mean_per_class_recall(ranked[:, 0], targets, self.num_classes)
        metrics |= {"mean_per_class_recall": recall, "ece": self.calibration.ece}
        if self._is_binary:
            metrics["roc_auc"] = roc_auc(self.margin, targets == 1)
        return metrics

    @property
    def chance(self) -> dict[str, float]:
        """Chance level of those metrics that have one."""
        chance = {f"acc{k}": k / self.num_classes for k in self.ks}
        chance["mean_per_class_recall"] = 1 / self.num_classes
        return chance | ({"roc_auc": 0.5} if self._is_binary else {})

    def replicates(self) -> dict[str, NDArray[np.float64]]:
        """Replicates of `metrics`, float64 [replicate] each; nan where a resample has one class.

        Computed from how often each sample was drawn, in a sixth of the time of drawing them. For
        the mean over classes a sample has the weight that it has in the whole, the larger the fewer
        samples its class has: a resample lacks classes of few samples, and its own mean over the
        others varies too little.
        """
        count = len(self.targets)
        correct = {key: one.astype(np.float64) for key, one in self.correct.items()}
        gap = correct["acc1"] - self.confidence
        edges = self.calibration.lower_edges
        bins = np.searchsorted(edges[1:], self.confidence.astype(np.float64))
        weight = 1 / np.bincount(self.targets, minlength=self.num_classes)[self.targets]

        def measure(drawn: NDArray[np.int64]) -> dict[str, float]:
            times = np.bincount(drawn, minlength=count).astype(np.float64)
            metrics = {key: float(times @ one) / count for key, one in correct.items()}
            weighted = times * weight
            metrics["mean_per_class_recall"] = float(weighted @ correct["acc1"] / weighted.sum())
            gaps = np.bincount(bins, weights=times * gap, minlength=len(edges))
            metrics["ece"] = float(np.abs(gaps).sum()) / count
            if self._is_binary:
                positive = self.targets[drawn] == 1
                both = 0 < positive.sum() < count
                metrics["roc_auc"] = roc_auc(self.margin[drawn], positive) if both else math.nan
            return metrics

        return bootstrap(measure, count)

    @property
    def _is_binary(self) -> bool:
        return self.num_classes == 2 and len(np.unique(self.targets)) == 2


def make_predictions(
    scores: NDArray[np.float32], targets: NDArray[np.int64], *, scale: float = 1.0
) -> Predictions:
    """Predict classes from scores, float32 [sample class].

    Args:
        scores: Higher is likelier.
        targets: Class of each sample.
        scale: Factor that turns scores into logits, such as the exponentiated `logit_scale` of
            cosines.
    """
    return Predictions(
        targets=targets,
        top_classes=top_k(scores, min(TOP_K, scores.shape[1])),
        confidence=softmax_confidence(scale * scores).astype(np.float32),
        margin=scores[:, -1] - scores[:, 0],
        num_classes=scores.shape[1],
    )


def predict(
    embeddings: Embeddings,
    targets: NDArray[np.int64],
    score: Callable[[Embeddings], NDArray[np.float32]],
    *,
    scale: float = 1.0,
) -> Predictions:
    """Predict classes from embeddings, without all scores in memory.

    Args:
        embeddings: At least one.
        targets: Class of each sample.
        score: Gives the scores of some embeddings, float32 [sample class].
        scale: Factor that turns scores into logits.
    """
    parts = [
        make_predictions(
            score(embeddings[i : i + _CHUNK_SIZE]), targets[i : i + _CHUNK_SIZE], scale=scale
        )
        for i in range(0, len(targets), _CHUNK_SIZE)
    ]
    return Predictions(
        targets=targets,
        top_classes=np.concatenate([part.top_classes for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        margin=np.concatenate([part.margin for part in parts]),
        num_classes=parts[0].num_classes,
    )
