"""Logistic regression of a few features, by Newton's method."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_RIDGE = 1.0
"""Pull of the standardised weights towards 0: they stay finite where a line parts the classes."""


def sigmoid(odds: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The probability of log-odds, without overflow.

    Example:
        >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return 0.5 * (1 + np.tanh(0.5 * odds))


def fit_logistic(
    positives: Float[np.ndarray, "p feature"], negatives: Float[np.ndarray, "n feature"]
) -> list[float]:
    """Fit log-odds that are linear in the features, at even prior odds of the two classes.

    Args:
        positives: At least one sample; both classes count the same, however many there are.
        negatives: At least one sample.

    Returns:
        A weight for each feature, and the bias.
    """
    features = np.concatenate([positives, negatives]).astype(np.float64)
    target = np.repeat([1.0, 0.0], [len(positives), len(negatives)])
    count = np.where(target == 1, len(positives), len(negatives))
    importance = len(target) / (2 * count)
    mean, spread = features.mean(0), features.std(0)
    spread[spread < 1e-9] = 1  # a constant feature gets the weight 0
    inputs = np.column_stack([(features - mean) / spread, np.ones(len(target))])
    ridge = _RIDGE * np.append(np.ones(features.shape[1]), 0)
    weights = np.zeros(inputs.shape[1])
    for _ in range(30):
        expected = sigmoid(inputs @ weights)
        gradient = inputs.T @ (importance * (target - expected)) - ridge * weights
        curvature = importance * np.maximum(expected * (1 - expected), 1e-9)
        step = np.linalg.solve((inputs.T * curvature) @ inputs + np.diag(ridge), gradient)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    of_features = weights[:-1] / spread
    return [*of_features.tolist(), float(weights[-1] - of_features @ mean)]
