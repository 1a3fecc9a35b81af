"""Logistic regression against scikit-learn's, at the optimum, and against differences."""

import inspect

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from twinlens.embed.logistic_regression import (
    LinearProbe,
    LogisticRegressionSolver,
    check_labelled_features,
    fit_logistic_regression,
)
from twinlens.errors import ConfigError, DataError, ShapeError


def drawn(
    samples: int, width: int, classes: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Overlapping clouds, one a class, on very different scales."""
    rng = np.random.default_rng(seed)
    targets = np.arange(samples) % classes
    centres = rng.normal(size=(classes, width))
    features = centres[targets] + 1.5 * rng.normal(size=(samples, width)) + 5
    return (features * np.logspace(-1, 1, width)).astype(np.float32), targets


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def peer(
    features: NDArray[np.float32], targets: NDArray[np.int64], strength: float
) -> LogisticRegression:
    """Scikit-learn's optimum: in float64, by Newton's method, to a tolerance without effect."""
    model = LogisticRegression(C=1 / strength, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    return model.fit(features.astype(np.float64), targets)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e2, 1e6])
def test_the_optimum_is_scikit_learns(classes: int, strength: float):
    features, targets = drawn(150, 8, classes)
    probe = fit_logistic_regression(features, targets, classes, l2_penalty=strength)
    expected = peer(features, targets, strength)
    assert probe.converged
    assert probabilities(probe.predict_logits(features)) == pytest.approx(
        expected.predict_proba(features), abs=2e-4
    )
    if classes > 2:
        weight, scale = probe.weight.T, np.abs(expected.coef_).max()
        assert weight == pytest.approx(expected.coef_, abs=2e-3 * scale)


def test_two_classes_share_one_vector_as_in_scikit_learn():
    features, targets = drawn(100, 4, 2)
    probe, expected = (
        fit_logistic_regression(features, targets, 2, l2_penalty=3.0),
        peer(features, targets, 3.0),
    )
    difference = probe.weight[:, 1] - probe.weight[:, 0]
    assert difference == pytest.approx(expected.coef_[0], rel=1e-2, abs=1e-4)
    assert probe.bias[1] - probe.bias[0] == pytest.approx(expected.intercept_[0], rel=1e-2)


def test_more_features_than_samples():
    features, targets = drawn(40, 90, 4)
    probe, expected = (
        fit_logistic_regression(features, targets, 4, l2_penalty=1.0),
        peer(features, targets, 1.0),
    )
    assert probabilities(probe.predict_logits(features)) == pytest.approx(
        expected.predict_proba(features), abs=1e-4
    )
    other, _ = drawn(30, 90, 4, seed=1)  # where logits are far larger
    assert probabilities(probe.predict_logits(other)) == pytest.approx(
        expected.predict_proba(other), abs=5e-3
    )


@pytest.mark.parametrize("strength", [1e-6, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_scaled_features_are_a_scaled_strength(strength: float, scale: float):
    features, targets = drawn(120, 6, 3)
    one = fit_logistic_regression(features, targets, 3, l2_penalty=strength)
    other = fit_logistic_regression(features * scale, targets, 3, l2_penalty=strength * scale**2)
    assert one.converged
    assert other.converged
    assert probabilities(other.predict_logits(features * scale)) == pytest.approx(
        probabilities(one.predict_logits(features)), abs=2e-4
    )


def test_raw_pixels_with_constant_columns():
    rng = np.random.default_rng(0)
    targets = np.arange(80) % 4
    pixels = np.zeros((80, 60), np.float32)
    pixels[:, :30] = np.clip(rng.normal(60 * targets[:, None], 90, (80, 30)).round(), 0, 255)
    pixels[:, 40] = 255
    probe, expected = (
        fit_logistic_regression(pixels, targets, 4, l2_penalty=1e4),
        peer(pixels, targets, 1e4),
    )
    assert (probe.weight[30:] == 0).all()
    assert probabilities(probe.predict_logits(pixels)) == pytest.approx(
        expected.predict_proba(pixels), abs=2e-4
    )


def test_nothing_but_constants_leaves_how_common_classes_are():
    probe = fit_logistic_regression(np.ones((4, 3)), np.array([0, 0, 0, 1]), 2, l2_penalty=1.0)
    assert probabilities(probe.predict_logits(np.ones((1, 3))))[0] == pytest.approx(
        [0.75, 0.25], abs=1e-4
    )


@pytest.mark.parametrize("strength", [1e-6, 1e-3])
def test_separable_classes_converge_at_weak_strengths(strength: float):
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    features = np.eye(3)[targets] + 0.05 * rng.normal(size=(60, 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    probe = fit_logistic_regression(features, targets, 3, l2_penalty=strength)
    assert probe.converged
    assert (probe.predict_logits(features).argmax(axis=1) == targets).all()
    # At the optimum weights and data pull equally: strength * weight = features' (target - chance).
    pull = features.T @ (np.eye(3)[targets] - probabilities(probe.predict_logits(features)))
    assert strength * probe.weight == pytest.approx(pull, rel=0.1, abs=0.02 * np.abs(pull).max())


def test_gradient_is_that_of_differences():
    features, targets = drawn(50, 5, 3)
    regression = LogisticRegressionSolver(features / 10, targets, 3)
    weight = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    _, gradient = regression.cross_entropy(weight)
    for place in np.ndindex(*weight.shape):
        step = np.zeros_like(weight)
        step[place] = 1e-2
        above, below = (regression.cross_entropy(w)[0] for w in (weight + step, weight - step))
        assert gradient[place] == pytest.approx((above - below) / 2e-2, rel=2e-3, abs=5e-3)


def test_cross_entropy_of_near_certainty_is_exact():
    regression = LogisticRegressionSolver(np.array([[1.0], [-1.0]]), np.array([0, 1]), 2)
    loss, gradient = regression.cross_entropy(np.array([[20, 0], [-20, 0]], np.float32))
    assert loss == pytest.approx(2 * np.log1p(np.exp(-40.0)), rel=1e-5, abs=0)
    assert abs(gradient[0, 0]) == pytest.approx(2 * np.exp(-40.0), rel=1e-5, abs=0)


def test_a_start_leads_to_the_same_optimum_sooner():
    features, targets = drawn(200, 10, 4)
    cold = fit_logistic_regression(features, targets, 4, l2_penalty=1.0)
    near = fit_logistic_regression(features, targets, 4, l2_penalty=2.0)
    warm = fit_logistic_regression(features, targets, 4, l2_penalty=1.0, initial=near)

    def converges(initial: LinearProbe | None, iterations: int) -> bool:
        return fit_logistic_regression(
            features, targets, 4, l2_penalty=1.0, initial=initial, max_iterations=iterations
        ).converged

    needed = next(count for count in range(1, 100) if converges(near, count))
    assert not converges(None, needed)
    assert converges(cold, 1)
    assert probabilities(warm.predict_logits(features)) == pytest.approx(
        probabilities(cold.predict_logits(features)), abs=2e-4
    )


def test_too_few_iterations_are_told():
    features, targets = drawn(200, 10, 4)
    probe = fit_logistic_regression(features, targets, 4, l2_penalty=1e-3, max_iterations=2)
    assert not probe.converged


def test_fits_are_repeatable():
    features, targets = drawn(100, 5, 3)
    one, other = (fit_logistic_regression(features, targets, 3, l2_penalty=0.1) for _ in range(2))
    assert (one.weight == other.weight).all()
    assert (one.bias == other.bias).all()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 1, 3], "targets: got 3, expected 0 to 2"),
        ([0, 1, -1], "targets: got -1, expected 0 to 2"),
        ([0, 0, 2], "class 1: got no samples, expected at least one"),
    ],
)
def test_targets_must_be_classes_and_each_be_there(targets: list[int], message: str):
    with pytest.raises(DataError, match=message):
        fit_logistic_regression(np.eye(3), np.array(targets), 3, l2_penalty=1.0)


def test_bad_features():
    with pytest.raises(DataError, match="features of sample 1: got nan or infinity"):
        fit_logistic_regression(np.array([[0.0], [np.nan]]), np.array([0, 1]), 2, l2_penalty=1.0)
    with pytest.raises(DataError, match=r"features: got \[0, 3\], expected at least one"):
        fit_logistic_regression(np.zeros((0, 3)), np.zeros(0, np.int64), 2, l2_penalty=1.0)
    with pytest.raises(DataError, match=r"features: got \[2, 0\], expected at least one"):
        fit_logistic_regression(np.zeros((2, 0)), np.array([0, 1]), 2, l2_penalty=1.0)


def test_bad_shapes_and_settings():
    unchecked = inspect.unwrap(
        fit_logistic_regression
    )  # the tests' own check of shapes would come first
    with pytest.raises(ShapeError, match=r"got \[2, 1\] and \[3\], expected"):
        inspect.unwrap(check_labelled_features)(np.zeros((2, 1)), np.zeros(3, np.int64), 2)
    features, targets = np.array([[0.0], [1.0]]), np.array([0, 1])
    for strength in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ConfigError, match=r"l2_penalty: got .*, expected a number above 0"):
            unchecked(features, targets, 2, l2_penalty=strength)
    with pytest.raises(ConfigError, match="classes: got 1, expected at least 2"):
        unchecked(features, np.zeros(2, np.int64), 1, l2_penalty=1.0)


def test_a_probe_is_for_its_features():
    probe = fit_logistic_regression(np.array([[0.0], [1.0]]), np.array([0, 1]), 2, l2_penalty=1.0)
    with pytest.raises(ShapeError, match=r"features: got \[1, 2\], expected \[sample, 1\]"):
        probe.predict_logits(np.zeros((1, 2)))
    other = LinearProbe(
        weight=np.zeros((2, 2), np.float32),
        bias=np.zeros(2, np.float32),
        l2_penalty=1.0,
        converged=True,
    )
    with pytest.raises(ShapeError, match=r"start: got \[2, 2\], expected \[1, 2\]"):
        fit_logistic_regression(
            np.array([[0.0], [1.0]]), np.array([0, 1]), 2, l2_penalty=1.0, initial=other
        )
