"""Robustness against lines and means worked out by hand."""

import math

import numpy as np
import pytest

from twinlens.errors import DataError
from twinlens.eval.metrics.robustness import (
    BaselineFit,
    effective_robustness,
    fit_baseline,
    logit,
)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_models_on_a_line_give_the_line():
    z = np.array([-1.0, 0.0, 0.5, 2.0])
    points = np.stack([sigmoid_of(z), sigmoid_of(0.8 * z - 0.7)], axis=1)
    line = fit_baseline(points)
    assert (line.slope, line.intercept) == (pytest.approx(0.8), pytest.approx(-0.7))
    assert line.num_models == 4
    for standard, shifted in points.tolist():
        assert effective_robustness(standard, shifted, line) == pytest.approx(0)
    assert effective_robustness(sigmoid(1.0), 0.6, line) == pytest.approx(0.6 - sigmoid(0.1))


def sigmoid_of(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def test_scattered_models_give_the_least_squares():
    points = np.random.default_rng(0).uniform(0.1, 0.9, (20, 2))
    logits = np.log(points / (1 - points))
    slope, intercept = np.polyfit(logits[:, 0], logits[:, 1], 1)
    line = fit_baseline(points)
    assert (line.slope, line.intercept) == (pytest.approx(slope), pytest.approx(intercept))


def test_none_and_all_right_are_half_a_image_away():
    assert logit(0.0, 50) == pytest.approx(math.log(0.01 / 0.99))
    assert logit(1.0, 50) == pytest.approx(math.log(0.99 / 0.01))
    assert logit(0.5, 50) == 0
    line = fit_baseline(np.array([[1.0, 0.5], [0.5, 0.0]]), num_samples=50)
    assert (line.slope, line.num_samples) == (pytest.approx(1.0), 50)
    assert line.predict(1.0) == pytest.approx(0.5)
    assert line.predict(0.5) == pytest.approx(0.01)


def test_steep_lines_do_not_overflow():
    steep = BaselineFit(slope=1e6, intercept=0.0, num_models=2)
    assert (steep.predict(0.9), steep.predict(0.1), steep.predict(0.5)) == (1.0, 0.0, 0.5)


def test_a_line_needs_two_different_models():
    for points, count in ((np.zeros((0, 2)), 0), (np.array([[0.5, 0.1], [0.5, 0.9]]), 1)):
        with pytest.raises(DataError, match=f"got {count} different .* expected at least 2"):
            fit_baseline(points)


@pytest.mark.parametrize("wrong", [-0.1, 50.0, math.nan])
def test_accuracies_are_fractions(wrong: float):
    with pytest.raises(DataError, match=r"accuracy: got .*, expected a fraction in \[0, 1\]"):
        fit_baseline(np.array([[0.5, 0.5], [0.6, wrong]]))
