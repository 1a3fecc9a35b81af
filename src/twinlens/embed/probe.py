"""Logistic regression on features: what a linear probe is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from twinlens.embed.lbfgs import minimise
from twinlens.errors import DataError, ShapeError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITERATIONS = 1000
"""Of L-BFGS, at most (paper appendix A.3)."""

TOLERANCE = 1e-10
"""What a fit may still gain, nats a sample: probabilities are then within 1e-4 or so."""

_BLOCK = 1024
"""Samples whose products are made at a time: what they take stays in the processor's cache."""

_BLOCKS = 4
"""Among which the curvature is guessed."""

_LEAST_CURVATURE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """A linear classifier.

    Attributes:
        weight: float32 [feature, class].
        bias: float32 [class].
        strength: Of the regularisation it was fitted with.
        iterations: Of L-BFGS that the fit took.
        converged: Whether it got within the tolerance of the optimum.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    iterations: int
    converged: bool

    def predict_logits(
        self, features: Float[np.ndarray, "sample feature"]
    ) -> Float[np.ndarray, "sample class"]:
        """Logits in float32; their softmax is the probabilities.

        Raises:
            ShapeError: The probe is for another number of features.
        """
        if features.ndim != 2 or features.shape[1] != len(self.weight):
            raise ShapeError(
                f"features: got {list(features.shape)}, expected [sample, {len(self.weight)}]"
            )
        return features.astype(np.float32, copy=False) @ self.weight + self.bias


def fit(
    features: Float[np.ndarray, "sample feature"],
    targets: Int[np.ndarray, " sample"],
    classes: int,
    *,
    strength: float,
    start: Probe | None = None,
    iterations: int = ITERATIONS,
) -> Probe:
    """Multinomial logistic regression with L2 regularisation (paper appendix A.3).

    Minimises the sum over samples of the cross-entropy, in nats, plus `strength / 2` times the
    sum of the squared weights; the bias is free. That is scikit-learn's
    `LogisticRegression(C=1 / strength)`, also in that two classes have one vector between them:
    the difference of their weights is what is squared.

    Args:
        features: On any scale.
        targets: Of each sample, from 0 to `classes - 1`; each class at least once.
        classes: How many there are, at least two.
        strength: Above 0.
        start: A probe of the same features and classes to begin with, else zeros.
        iterations: At most so many.

    Raises:
        ConfigError: There are fewer than two classes, or the strength is not above 0.
        DataError: A target is no class, a class has no samples, or a feature is not finite.
        ShapeError: There is not one target a sample, or `start` is of another shape.

    Example:
        >>> probe = fit(np.array([[0.0], [1.0]]), np.array([0, 1]), 2, strength=1e-3)
        >>> probe.predict_logits(np.array([[0.2], [0.9]])).argmax(axis=1).tolist()
        [0, 1]
    """
    return Regression(features, targets, classes).fit(strength, start=start, iterations=iterations)


class Regression:
    """Features made ready to be fitted with many strengths.

    They are centred and turned to their principal axes. Neither changes the optimum: the bias is
    free and the squared length of a weight is the same in all bases. But along these axes both the
    data and the regularisation bend the objective independently, so each is scaled to about one,
    whatever the strength and however badly the features are scaled; and there are no more of them
    than samples.
    """

    def __init__(
        self,
        features: Float[np.ndarray, "sample feature"],
        targets: Int[np.ndarray, " sample"],
        classes: int,
    ) -> None:
        check(features, targets, classes)
        missing = np.flatnonzero(np.bincount(targets, minlength=classes) == 0)
        if len(missing):
            raise DataError(f"class {missing[0]}: got no samples, expected at least one")
        self._classes = classes
        self._targets = targets
        self._mean: NDArray[np.float64] = features.mean(axis=0, dtype=np.float64)
        self._axes, spread = _principal_axes(features, self._mean)
        # The last axis is the bias's.
        self._spread = np.append(spread, len(features))
        # Each block is [axis, sample]: products with few classes are fastest this way round.
        self._scores: list[NDArray[np.float32]] = []
        for part in _centred(features, self._mean):
            block = np.ones((len(self._spread), len(part)), np.float32)
            block[:-1] = (part @ self._axes).T
            self._scores.append(block)

    def fit(
        self,
        strength: float,
        *,
        start: Probe | None = None,
        iterations: int = ITERATIONS,
        tolerance: float = TOLERANCE,
    ) -> Probe:
        """Fit with one strength, as the function `fit` does.

        Args:
            strength: Above 0.
            start: As there.
            iterations: As there.
            tolerance: What there may still be to gain, nats a sample.
        """
        require(0 < strength < np.inf, "strength", strength, "a number above 0")
        # With two classes w and -w are fitted, and (2 w)^2 is to count, not 2 w^2.
        decay = np.full(len(self._spread), strength * (2 if self._classes == 2 else 1), np.float32)
        decay[-1] = 0
        begin = self._turned(start)
        bend = self._curvature(begin) * self._spread + decay
        scale = (1 / np.sqrt(bend)).astype(np.float32)

        def objective(place: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
            weight = place * scale
            loss, slope = self.cross_entropy(weight)
            pull = weight * decay
            penalty = float((pull * weight).sum(dtype=np.float64)) / 2
            slope += pull
            slope *= scale
            return loss + penalty, slope

        found = minimise(
            objective,
            begin / scale,
            tolerance=tolerance * len(self._targets),
            iterations=iterations,
        )
        return self._probe(found.place * scale, strength, found.iterations, found.converged)

    def cross_entropy(
        self, weight: Float[np.ndarray, "class axis"]
    ) -> tuple[float, NDArray[np.float32]]:
        """The sum over samples in nats, and its gradient; weights along the principal axes."""
        total, gradient = 0.0, np.zeros(weight.shape, np.float32)
        for number, scores in enumerate(self._scores):
            targets = self._targets[number * _BLOCK :][:_BLOCK]
            loss, slope = _cross_entropy(weight @ scores, targets)
            total += loss
            gradient += (scores @ slope.T).T
        return total, gradient

    def _turned(self, start: Probe | None) -> NDArray[np.float32]:
        """Weights and bias along the principal axes: [class, axis]."""
        if start is None:
            return np.zeros((self._classes, len(self._spread)), np.float32)
        expected = (len(self._axes), self._classes)
        if start.weight.shape != expected:
            raise ShapeError(f"start: got {list(start.weight.shape)}, expected {list(expected)}")
        weight = start.weight.astype(np.float64)
        bias = start.bias + self._mean @ weight
        return np.vstack([self._axes.T @ weight, bias]).T.astype(np.float32)

    def _probe(
        self, weight: NDArray[np.float32], strength: float, iterations: int, converged: bool
    ) -> Probe:
        turned: NDArray[np.float64] = self._axes @ weight[:, :-1].T
        return Probe(
            weight=turned.astype(np.float32),
            bias=(weight[:, -1] - self._mean @ turned).astype(np.float32),
            strength=strength,
            iterations=iterations,
            converged=converged,
        )

    def _curvature(self, weight: NDArray[np.float32]) -> float:
        """The mean of p (1 - p), about, over samples and classes."""
        some = self._scores[:: -(-len(self._scores) // _BLOCKS)]
        logits = np.hstack([weight @ scores for scores in some])
        odds = np.exp(logits - logits.max(axis=0))
        chance = odds / odds.sum(axis=0)
        return max(float((chance * (1 - chance)).mean()), _LEAST_CURVATURE)


def check(
    features: Float[np.ndarray, "sample feature"],
    targets: Int[np.ndarray, " sample"],
    classes: int,
) -> None:
    """Make sure that features have targets that are classes.

    Raises:
        ConfigError: There are fewer than two classes.
        DataError: There are no samples, a target is no class, or a feature is not finite.
        ShapeError: There is not one row of features and one target a sample.
    """
    require(classes >= 2, "classes", classes, "at least 2")
    if features.ndim != 2 or targets.shape != features.shape[:1]:
        raise ShapeError(
            f"features and targets: got {list(features.shape)} and {list(targets.shape)}, "
            "expected [sample, feature] and [sample]"
        )
    if features.size == 0:
        raise DataError(f"features: got {list(features.shape)}, expected at least one of one")
    low, high = targets.min(), targets.max()
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise DataError(f"targets: got {wrong}, expected 0 to {classes - 1}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise DataError(f"features of sample {bad[0]}: got nan or infinity, expected numbers")


def _centred(
    features: Float[np.ndarray, "sample feature"], mean: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """The features less their mean in float64, a block of rows at a time."""
    for begin in range(0, len(features), _BLOCK):
        yield features[begin : begin + _BLOCK] - mean


def _principal_axes(
    features: Float[np.ndarray, "sample feature"], mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal axes, float64 [feature, axis], and the sum of squares along each.

    Those along which float32 features do not differ are left out, constants for one.
    """
    samples, width = features.shape
    if samples < width:  # all that differs lies in a space of so many dimensions
        frame = np.linalg.qr((features - mean).T).Q
        axes, spread = _principal_axes((features - mean) @ frame, np.zeros(samples))
        return frame @ axes, spread
    gram = np.zeros((width, width))
    for part in _centred(features, mean):
        gram += part.T @ part
    spread, axes = np.linalg.eigh(gram)
    kept = spread > np.finfo(np.float32).eps ** 2 * spread[-1]
    return axes[:, kept], spread[kept]


def _cross_entropy(
    logits: NDArray[np.float32], targets: Int[np.ndarray, " sample"]
) -> tuple[float, NDArray[np.float32]]:
    """The sum over samples, and its gradient by the logits [class, sample], which it overwrites.

    Exact in float32 also where a sample's probability is so near 1 that the difference is lost:
    what the other classes have is added up by itself.
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
