"""Logistic regression: the weights of a known model, even priors, separable classes."""

import numpy as np
import pytest

from twinlens.search.logistic import fit_logistic, sigmoid


def test_gaussians_of_equal_spread_give_the_weights_of_their_means():
    rng = np.random.default_rng(0)
    spread = np.array([1.0, 2.0])
    positives = rng.normal([1, 2], spread, (20_000, 2))
    negatives = rng.normal([0, 0], spread, (5_000, 2))  # fewer: the priors are even all the same
    *weights, bias = fit_logistic(positives, negatives)
    assert weights == pytest.approx([1, 0.5], abs=0.05)
    assert bias == pytest.approx(-1, abs=0.05)


def test_the_result_does_not_depend_on_the_scale_of_a_feature():
    rng = np.random.default_rng(1)
    positives, negatives = rng.normal(1, 1, (200, 1)), rng.normal(0, 1, (300, 1))
    weight, bias = fit_logistic(positives, negatives)
    scaled, same = fit_logistic(1000 * positives, 1000 * negatives)
    assert (1000 * scaled, same) == pytest.approx((weight, bias))


@pytest.mark.parametrize("distance", [0, 1, 1e6])
def test_weights_stay_finite(distance: float):
    positives = np.full((10, 2), distance) + np.arange(20).reshape(10, 2) * 1e-3
    weights = fit_logistic(positives, np.zeros((1, 2)))
    assert np.isfinite(weights).all()


def test_constant_features_have_no_weight():
    positives = np.column_stack([np.arange(5.0) + 3, np.ones(5)])
    negatives = np.column_stack([np.arange(5.0), np.ones(5)])
    assert fit_logistic(positives, negatives)[1] == 0


def test_probabilities_are_symmetric():
    odds = np.linspace(-800, 800, 99)
    assert sigmoid(odds) + sigmoid(-odds) == pytest.approx(np.ones(99))
