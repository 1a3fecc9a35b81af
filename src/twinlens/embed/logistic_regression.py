"""Multinomial logistic regression with L2 regularisation, on features of any scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from twinlens.embed.lbfgs import minimise
from twinlens.errors import DataError, ShapeError, require, require_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ITERATIONS = 1000
"""Iterations of L-BFGS at most (paper appendix A.3)."""

TOLERANCE = 1e-10
"""Decrease in nats a sample that a fit leaves out: probabilities are then within 1e-4 or so."""

_BLOCK_ROWS = 1024
"""Samples of a product, few enough that its result stays in the processor's cache."""

_CURVATURE_BLOCKS = 4
"""Blocks that the curvature is estimated from."""

_MIN_CURVATURE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearProbe:
    """A linear classifier.

    Attributes:
        weight: float32 [feature, class].
        bias: float32 [class].
        l2_penalty: The penalty that it was fitted with.
        converged: True if the fit came within the tolerance of the optimum.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    l2_penalty: float
    converged: bool

    def predict_logits(
        self, features: Float[np.ndarray, "sample feature"]
    ) -> Float[np.ndarray, "sample class"]:
        """Compute logits in float32; their softmax is the probabilities.

        Raises:
            ShapeError: The probe was fitted to another number of features.
        """
        require(
            features.ndim == 2 and features.shape[1] == len(self.weight),
            "features",
            list(features.shape),
            f"[sample, {len(self.weight)}]",
            ShapeError,
        )
        return features.astype(np.float32, copy=False) @ self.weight + self.bias


def fit_logistic_regression(
    features: Float[np.ndarray, "sample feature"],
    targets: Int[np.ndarray, " sample"],
    num_classes: int,
    *,
    l2_penalty: float,
    initial: LinearProbe | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> LinearProbe:
    """Fit multinomial logistic regression with L2 regularisation (paper appendix A.3).

    Minimises the sum over samples of the cross-entropy, in nats, plus `l2_penalty / 2` times the
    sum of the squared weights; the bias is not penalised. That is scikit-learn's
    `LogisticRegression(C=1 / l2_penalty)`, also in that two classes share one vector: the
    difference of their weights is what is squared.

    Args:
        features: On any scale.
        targets: Class of each sample, from 0 to `num_classes - 1`; each class at least once.
        num_classes: Number of classes, at least two.
        l2_penalty: A number above 0.
        initial: A probe of the same features and classes to begin with; without it, zeros.
        max_iterations: Iterations of L-BFGS at most.

    Raises:
        ConfigError: There are fewer than two classes, or the penalty is not above 0.
        DataError: A target is no class, a class has no samples, or a feature is not finite.
        ShapeError: There is not one target a sample, or `initial` is of another shape.

    Example:
        >>> features, targets = np.array([[0.0], [1.0]]), np.array([0, 1])
        >>> probe = fit_logistic_regression(features, targets, 2, l2_penalty=1e-3)
        >>> probe.predict_logits(np.array([[0.2], [0.9]])).argmax(axis=1).tolist()
        [0, 1]
    """
    return LogisticRegressionSolver(features, targets, num_classes).fit(
        l2_penalty, initial=initial, max_iterations=max_iterations
    )


class LogisticRegressionSolver:
    """Features prepared to be fitted with many penalties.

    They are centred, if there is a bias, and turned to their principal axes. Neither changes the
    optimum: the bias is not penalised and the squared length of a weight is the same in all bases.
    But along these axes the second derivatives of both the data's and the penalty's part of the
    objective are independent, so each is scaled to about one, for any penalty and any scale of the
    features; and there are no more axes than samples.

    Args:
        features: On any scale.
        targets: Class of each sample, from 0 to `num_classes - 1`.
        num_classes: Number of classes, at least two.
        bias: Fit a bias. Without one, classes may have no samples.
    """

    def __init__(
        self,
        features: Float[np.ndarray, "sample feature"],
        targets: Int[np.ndarray, " sample"],
        num_classes: int,
        *,
        bias: bool = True,
    ) -> None:
        check_labelled_features(features, targets, num_classes)
        missing = np.flatnonzero(np.bincount(targets, minlength=num_classes) == 0)
        if bias and len(missing):  # its bias has no optimum
            raise DataError(f"class {missing[0]}: got no samples, expected at least one")
        self._classes = num_classes
        self._targets = targets
        self._bias = bias
        mean = features.mean(axis=0, dtype=np.float64)
        self._mean: NDArray[np.float64] = mean if bias else np.zeros_like(mean)
        self._axes, spread = _principal_axes(features, self._mean)
        # The last axis is that of the bias, and 0 for all samples where there is none.
        self._axis_scales = np.append(spread, len(features) * bias)
        # Each block is [axis, sample]: products with few classes are fastest this way round.
        self._blocks: list[NDArray[np.float32]] = []
        for part in _centred_blocks(features, self._mean):
            block = np.full((len(self._axis_scales), len(part)), bias, np.float32)
            block[:-1] = (part @ self._axes).T
            self._blocks.append(block)

    def fit(
        self,
        l2_penalty: float,
        *,
        initial: LinearProbe | None = None,
        max_iterations: int = MAX_ITERATIONS,
        tolerance: float = TOLERANCE,
    ) -> LinearProbe:
        """Fit with one penalty; see `fit_logistic_regression`.

        Args:
            l2_penalty: A number above 0.
            initial: A probe to begin with; without it, zeros.
            max_iterations: Iterations of L-BFGS at most.
            tolerance: Decrease in nats a sample that may be left.
        """
        require(0 < l2_penalty < np.inf, "l2_penalty", l2_penalty, "a number above 0")
        # With two classes w and -w are fitted, and (2 w)^2 is the penalty, not 2 w^2.
        decay = np.full(
            len(self._axis_scales), l2_penalty * (2 if self._classes == 2 else 1), np.float32
        )
        if self._bias:
            decay[-1] = 0
        begin = self._to_principal_axes(initial)
        curvature = self._mean_curvature(begin) * self._axis_scales + decay
        scale = (1 / np.sqrt(curvature)).astype(np.float32)

        def objective(x: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
            weight = x * scale
            loss, gradient = self.cross_entropy(weight)
            decayed = weight * decay
            penalty = float((decayed * weight).sum(dtype=np.float64)) / 2
            gradient += decayed
            gradient *= scale
            return loss + penalty, gradient

        minimum = minimise(
            objective,
            begin / scale,
            tolerance=tolerance * len(self._targets),
            max_iterations=max_iterations,
        )
        return self._to_probe(minimum.x * scale, l2_penalty, converged=minimum.converged)

    def cross_entropy(
        self, weight: Float[np.ndarray, "class axis"]
    ) -> tuple[float, NDArray[np.float32]]:
        """Sum the cross-entropy in nats, with its gradient, for weights along the axes."""
        total, gradient = 0.0, np.zeros(weight.shape, np.float32)
        for number, block in enumerate(self._blocks):
            targets = self._targets[number * _BLOCK_ROWS :][:_BLOCK_ROWS]
            loss, of_logits = _cross_entropy(weight @ block, targets)
            total += loss
            gradient += (block @ of_logits.T).T
        return total, gradient

    def _to_principal_axes(self, initial: LinearProbe | None) -> NDArray[np.float32]:
        """The probe's weights and bias along the principal axes: [class, axis]."""
        if initial is None:
            return np.zeros((self._classes, len(self._axis_scales)), np.float32)
        require_shape("start", initial.weight.shape, (len(self._axes), self._classes))
        weight = initial.weight.astype(np.float64)
        bias = initial.bias + self._mean @ weight
        return np.vstack([self._axes.T @ weight, bias]).T.astype(np.float32)

    def _to_probe(
        self, weight: NDArray[np.float32], l2_penalty: float, *, converged: bool
    ) -> LinearProbe:
        turned: NDArray[np.float64] = self._axes @ weight[:, :-1].T
        return LinearProbe(
            weight=turned.astype(np.float32),
            bias=(weight[:, -1] - self._mean @ turned).astype(np.float32),
            l2_penalty=l2_penalty,
            converged=converged,
        )

    def _mean_curvature(self, weight: NDArray[np.float32]) -> float:
        """Estimate the mean of p (1 - p) over samples and classes."""
        blocks = self._blocks[:: -(-len(self._blocks) // _CURVATURE_BLOCKS)]
        logits = np.hstack([weight @ block for block in blocks])
        odds = np.exp(logits - logits.max(axis=0))
        probability = odds / odds.sum(axis=0)
        return max(float((probability * (1 - probability)).mean()), _MIN_CURVATURE)


def check_labelled_features(
    features: Float[np.ndarray, "sample feature"],
    targets: Int[np.ndarray, " sample"],
    num_classes: int,
) -> None:
    """Make sure that every sample has finite features and a class.

    Raises:
        ConfigError: There are fewer than two classes.
        DataError: There are no samples, a target is no class, or a feature is not finite.
        ShapeError: There is not one row of features and one target a sample.
    """
    require(num_classes >= 2, "classes", num_classes, "at least 2")
    if features.ndim != 2 or targets.shape != features.shape[:1]:
        raise ShapeError(
            f"features and targets: got {list(features.shape)} and {list(targets.shape)}, "
            "expected [sample, feature] and [sample]"
        )
    require(features.size != 0, "features", list(features.shape), "at least one of one", DataError)
    low, high = targets.min(), targets.max()
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise DataError(f"targets: got {wrong}, expected 0 to {num_classes - 1}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise DataError(f"features of sample {bad[0]}: got nan or infinity, expected numbers")


def _centred_blocks(
    features: Float[np.ndarray, "sample feature"], mean: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """The features minus their mean in float64, a block of rows at a time."""
    for begin in range(0, len(features), _BLOCK_ROWS):
        yield features[begin : begin + _BLOCK_ROWS] - mean


def _principal_axes(
    features: Float[np.ndarray, "sample feature"], mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal axes, float64 [feature, axis], and the sum of squares along each.

    Axes along which float32 features do not differ are left out, those of constants for one.
    """
    samples, width = features.shape
    if samples < width:  # the features span no more dimensions than there are samples
        frame = np.linalg.qr((features - mean).T).Q
        axes, spread = _principal_axes((features - mean) @ frame, np.zeros(samples))
        return frame @ axes, spread
    gram = np.zeros((width, width))
    for part in _centred_blocks(features, mean):
        gram += part.T @ part
    spread, axes = np.linalg.eigh(gram)
    kept = spread > np.finfo(np.float32).eps ** 2 * spread[-1]
    return axes[:, kept], spread[kept]


def _cross_entropy(
    logits: NDArray[np.float32], targets: Int[np.ndarray, " sample"]
) -> tuple[float, NDArray[np.float32]]:
    """Sum over samples, with the gradient by the logits [class, sample], which are overwritten.

    Exact in float32 also where a sample's probability is so near 1 that the difference is lost:
    the probabilities of the other classes are summed by themselves.
    """
    own = (targets, np.arange(len(targets)))
    logits -= logits[own]
    top = logits.max(axis=0)
    odds = np.exp(np.subtract(logits, top, out=logits), out=logits)
    right = odds[own]
    odds[own] = 0
    wrong = odds.sum(axis=0)
    loss = float((top + np.log1p(wrong + (right - 1))).sum(dtype=np.float64))
    odds /= wrong + right
    odds[own] = -wrong / (wrong + right)
    return loss, odds
