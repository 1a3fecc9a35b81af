"""Measures of classification, ranking and calibration: pure functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from twinlens.errors import DataError, ShapeError, UnknownNameError, require, require_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interpolation = Literal["none", "eleven-point"]
"""Interpolation of precision between recalls."""


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Find the `k` best candidates of each row, best first: int64 [row, k].

    Equal ones are in their own order.

    Raises:
        ShapeError: There are fewer than `k` candidates.

    Example:
        >>> top_k(np.array([[0.1, 0.9, 0.5]], np.float32), 2).tolist()
        [[1, 2]]
    """
    require(scores.shape[1] >= k, "candidates", scores.shape[1], f"at least k={k}", ShapeError)
    best = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    last = np.take_along_axis(scores, best, axis=1).min(axis=1, keepdims=True)
    tied = np.flatnonzero((scores >= last).sum(axis=1) > k)  # others equal the last of the best
    best[tied] = np.sort(np.argsort(-scores[tied], axis=1, kind="stable")[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def accuracy(ranked: Int[np.ndarray, "sample k"], targets: Int[np.ndarray, " sample"]) -> float:
    """Fraction of samples whose class is among its best k (acc1 for k=1, acc5 for k=5).

    Example:
        >>> accuracy(np.array([[1, 2], [0, 2]]), np.array([2, 1]))
        0.5
    """
    return float((ranked == targets[:, None]).any(axis=1).mean())


def per_class_recall(
    predicted: Int[np.ndarray, " sample"], targets: Int[np.ndarray, " sample"], num_classes: int
) -> tuple[Float[np.ndarray, " class"], Int[np.ndarray, " class"]]:
    """The recall of each class, and the number of its samples.

    Classes without samples have recall nan.

    Example:
        >>> recall, samples = per_class_recall(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
        >>> recall.tolist(), samples.tolist()
        ([0.5, 1.0], [2, 1])
    """
    samples = np.bincount(targets, minlength=num_classes)
    right = np.bincount(targets[predicted == targets], minlength=num_classes)
    with np.errstate(invalid="ignore"):
        return right / samples, samples


def mean_per_class_recall(
    predicted: Int[np.ndarray, " sample"], targets: Int[np.ndarray, " sample"], num_classes: int
) -> float:
    """Mean recall of the classes that have samples: the "mean per class" of CLIP's paper.

    Raises:
        DataError: There are no samples.

    Example:
        >>> mean_per_class_recall(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
        0.75
    """
    recall, samples = per_class_recall(predicted, targets, num_classes)
    require(samples.any(), "samples", 0, "at least 1", DataError)
    return float(recall[samples > 0].mean())


def average_precision(
    scores: Float[np.ndarray, " sample"],
    is_positive: Bool[np.ndarray, " sample"],
    *,
    interpolation: Interpolation = "none",
) -> float:
    """Precision averaged over recall, as the threshold falls from the best score; in [0, 1].

    Samples of equal scores pass the threshold together, so that their order does not count.

    Args:
        scores: Higher is likelier.
        is_positive: True for the samples of the class.
        interpolation: With "none", precisions weighted by what each threshold adds to recall, as
            in scikit-learn. With "eleven-point", as in PASCAL VOC 2007 (Everingham et al. 2010):
            the best precision at a recall of at least 0, 0.1, ..., 1, averaged. VOC's "difficult"
            images are to be left out before.

    Raises:
        DataError: There are no positives, or a score is nan.
        ShapeError: There are not as many truths as scores, or they are not bool.
        UnknownNameError: There is no such interpolation.

    Example:
        >>> scores, positive = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
        >>> round(average_precision(scores, positive), 4)
        0.8333
        >>> round(average_precision(scores, positive, interpolation="eleven-point"), 4)
        0.8485
    """
    hits, misses = _counts_by_score(scores, is_positive)
    true_positives = np.cumsum(hits)
    require(true_positives.any(), "positives", 0, "at least 1", DataError)
    precision = true_positives / np.cumsum(hits + misses)
    if interpolation == "none":
        return float(hits @ precision / true_positives[-1])
    if interpolation == "eleven-point":
        best = np.maximum.accumulate(precision[::-1])[::-1]
        # In integers: as floats, 3 of 10 are less than 3 times 0.1.
        reached = np.searchsorted(10 * true_positives, true_positives[-1] * np.arange(11))
        return float(best[reached].mean())
    raise UnknownNameError("interpolation", interpolation, ["none", "eleven-point"])


def mean_average_precision(
    scores: Float[np.ndarray, "sample class"],
    is_positive: Bool[np.ndarray, "sample class"],
    *,
    interpolation: Interpolation = "none",
) -> tuple[float, int]:
    """Mean of the average precisions of classes that have positives, and the number of these.

    Raises:
        DataError: No class has positives, or a score is nan.
        ShapeError: The shapes differ, or the truths are not bool.

    Example:
        >>> scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.7, 0.1]])
        >>> truth = np.array([[False, False, False], [True, True, False]])
        >>> mean_average_precision(scores, truth)
        (0.75, 2)
    """
    _check_bool_targets(scores, is_positive)
    used = np.flatnonzero(is_positive.any(axis=0))
    require(len(used), "classes with positives", 0, "at least 1", DataError)
    each = [
        average_precision(scores[:, number], is_positive[:, number], interpolation=interpolation)
        for number in used
    ]
    return float(np.mean(each)), len(used)


def roc_auc(
    scores: Float[np.ndarray, " sample"], is_positive: Bool[np.ndarray, " sample"]
) -> float:
    """Area under the ROC curve (Hanley & McNeil 1982); chance is 0.5.

    This is the probability that a positive scores higher than a negative, ties counted half.

    Raises:
        DataError: There are no positives or no negatives, or a score is nan.
        ShapeError: There are not as many truths as scores, or they are not bool.

    Example:
        >>> roc_auc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
        0.875
    """
    hits, misses = _counts_by_score(scores, is_positive)
    positives, negatives = int(hits.sum()), int(misses.sum())
    if not positives or not negatives:
        raise DataError(
            f"positives and negatives: got {positives} and {negatives}, expected at least 1 of each"
        )
    lower = negatives - np.cumsum(misses)
    return float(hits @ (lower + misses / 2)) / (positives * negatives)


def mean_roc_auc(
    scores: Float[np.ndarray, "sample class"], is_positive: Bool[np.ndarray, "sample class"]
) -> tuple[float, int]:
    """Mean area under the ROC curves, each class against all others, and the number of classes.

    Classes without positives, or without negatives, are left out.

    Raises:
        DataError: No class has both, or a score is nan.
        ShapeError: The shapes differ, or the truths are not bool.

    Example:
        >>> scores, targets = np.array([[0.7, 0.3], [0.6, 0.4], [0.8, 0.2]]), np.array([0, 1, 0])
        >>> mean_roc_auc(scores, targets[:, None] == np.arange(2))
        (1.0, 2)
    """
    _check_bool_targets(scores, is_positive)
    used = np.flatnonzero(is_positive.any(axis=0) & ~is_positive.all(axis=0))
    require(len(used), "classes with positives and negatives", 0, "at least 1", DataError)
    return float(np.mean([roc_auc(scores[:, one], is_positive[:, one]) for one in used])), len(used)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Accuracy by confidence, in bins of equal width.

    Attributes:
        lower_edges: Lower edges of the bins, which include their upper edges: [bin].
        confidence: Mean confidence in each bin, nan where it is empty: [bin].
        accuracy: Accuracy in each bin, nan where it is empty: [bin].
        count: Number of samples in each bin: [bin].
        brier: Mean squared difference of confidence and correctness, in [0, 1] (Brier 1950).
    """

    lower_edges: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    brier: float

    @property
    def ece(self) -> float:
        """Expected calibration error: the bins' gaps weighted by their sizes, in [0, 1]."""
        return float(np.nansum(self._gaps * self.count) / self.count.sum())

    @property
    def mce(self) -> float:
        """Maximum calibration error: the widest gap of any bin, in [0, 1]."""
        return float(np.nanmax(self._gaps))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the means of an empty bin are None."""
        return {
            "ece": self.ece,
            "mce": self.mce,
            "brier": self.brier,
            "lower_edges": self.lower_edges.tolist(),
            "confidence": [None if math.isnan(one) else one for one in self.confidence.tolist()],
            "accuracy": [None if math.isnan(one) else one for one in self.accuracy.tolist()],
            "count": self.count.tolist(),
        }

    @property
    def _gaps(self) -> NDArray[np.float64]:
        return np.abs(self.accuracy - self.confidence)


def calibration(
    confidence: Float[np.ndarray, " sample"],
    is_correct: Bool[np.ndarray, " sample"],
    *,
    num_bins: int = 15,
) -> Calibration:
    """Compare confidence with accuracy, in bins of equal width.

    Bin m of M holds confidences above (m-1)/M up to m/M, as in Naeini et al. 2015 and Guo et al.
    2017 (section 2); 0 is in the first.

    Args:
        confidence: Probability of the predicted class, in [0, 1]; see `softmax_confidence`.
        is_correct: True where the prediction is right.
        num_bins: Number of bins.

    Raises:
        ConfigError: There are no bins.
        DataError: There are no samples, or a confidence is not in [0, 1].
        ShapeError: There are not as many answers as confidences, or they are not bool.

    Example:
        >>> right = np.array([True, True, False, True])
        >>> binned = calibration(np.array([0.9, 0.8, 0.9, 0.3]), right, num_bins=2)
        >>> round(binned.ece, 4), round(binned.mce, 4)
        (0.325, 0.7)
    """
    require(num_bins >= 1, "bins", num_bins, "at least 1")
    _check_bool_targets(confidence, is_correct)
    require(len(confidence), "samples", 0, "at least 1", DataError)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise DataError(
            f"confidence: got {confidence.min()} to {confidence.max()}, expected 0 to 1"
        )
    edges = np.linspace(0, 1, num_bins + 1)
    exact = confidence.astype(np.float64)
    bins = np.searchsorted(edges[1:-1], exact)
    count = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        return Calibration(
            lower_edges=edges[:-1],
            confidence=np.bincount(bins, weights=exact, minlength=num_bins) / count,
            accuracy=np.bincount(bins[is_correct], minlength=num_bins) / count,
            count=count,
            brier=float(np.mean((exact - is_correct) ** 2)),
        )


def softmax_confidence(
    logits: Float[np.ndarray, "sample class"],
) -> Float[np.ndarray, " sample"]:
    """The highest softmax probability of each row, in float64: float64 [sample].

    Args:
        logits: Cosines times the exponentiated `logit_scale`, not bare cosines.

    Raises:
        DataError: A row has nan or infinity, or nothing but minus infinity.

    Example:
        >>> softmax_confidence(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])).round(4).tolist()
        [0.5, 0.75]
    """
    peak = logits.max(axis=1, keepdims=True)
    if not np.isfinite(peak).all():
        raise DataError("logits: got nan or infinity, expected finite numbers")
    return 1 / np.exp(np.subtract(logits, peak, dtype=np.float64)).sum(axis=1)


def _counts_by_score(
    scores: NDArray[np.floating], is_positive: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positives and negatives at each distinct score, best first: [score] each."""
    _check_bool_targets(scores, is_positive)
    if np.isnan(scores).any():
        raise DataError("scores: got nan, expected numbers")
    distinct, inverse = np.unique(scores, return_inverse=True)
    hits = np.bincount(inverse[is_positive], minlength=len(distinct))
    misses = np.bincount(inverse[~is_positive], minlength=len(distinct))
    return hits[::-1], misses[::-1]


def _check_bool_targets(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> None:
    require_shape("truth", targets.shape, scores.shape)
    if targets.dtype != np.bool_:  # numbers would be taken for indices
        raise ShapeError(f"truth: got {targets.dtype}, expected bool")
