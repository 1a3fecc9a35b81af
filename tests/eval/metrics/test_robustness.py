"""Robustness against lines and means worked out by hand."""

import math

import numpy as np
import pytest

from twinlens.errors import DataError, ShapeError
from twinlens.eval.metrics.robustness import (
    Baseline,
    effective_robustness,
    fit_baseline,
    logit,
    relative_robustness,
    summarise_corruptions,
)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_models_on_a_line_give_the_line():
    z = np.array([-1.0, 0.0, 0.5, 2.0])
    points = np.stack([sigmoid_of(z), sigmoid_of(0.8 * z - 0.7)], axis=1)
    line = fit_baseline(points)
    assert (line.slope, line.intercept) == (pytest.approx(0.8), pytest.approx(-0.7))
    assert line.models == 4
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
    line = fit_baseline(np.array([[1.0, 0.5], [0.5, 0.0]]), samples=50)
    assert (line.slope, line.samples) == (pytest.approx(1.0), 50)
    assert line.expected(1.0) == pytest.approx(0.5)
    assert line.expected(0.5) == pytest.approx(0.01)


def test_steep_lines_do_not_overflow():
    steep = Baseline(slope=1e6, intercept=0.0, models=2)
    assert (steep.expected(0.9), steep.expected(0.1), steep.expected(0.5)) == (1.0, 0.0, 0.5)


def test_a_line_needs_two_different_models():
    for points, count in ((np.zeros((0, 2)), 0), (np.array([[0.5, 0.1], [0.5, 0.9]]), 1)):
        with pytest.raises(DataError, match=f"got {count} different .* expected at least 2"):
            fit_baseline(points)


@pytest.mark.parametrize("wrong", [-0.1, 50.0, math.nan])
def test_accuracies_are_fractions(wrong: float):
    with pytest.raises(DataError, match=r"accuracy: got .*, expected a fraction in \[0, 1\]"):
        fit_baseline(np.array([[0.5, 0.5], [0.6, wrong]]))


def test_relative_robustness_is_the_gain_on_the_shifted_set():
    assert relative_robustness(0.4, 0.5) == pytest.approx(-0.1)


def test_corruptions_weigh_the_same():
    found = summarise_corruptions(
        0.8, {"noise": np.array([0.7, 0.5, 0.3]), "blur": np.array([0.6, 0.4, 0.2])}
    )
    assert found.accuracy == pytest.approx(0.45)
    assert found.error == pytest.approx(0.55)
    assert found.retained == pytest.approx(0.5625)
    assert found.by_corruption == {"noise": pytest.approx(0.5), "blur": pytest.approx(0.4)}
    assert found.by_severity == pytest.approx((0.65, 0.45, 0.25))


def test_nothing_is_retained_of_nothing():
    assert math.isnan(summarise_corruptions(0.0, {"noise": np.array([0.0])}).retained)


def test_corruptions_have_equal_severities():
    with pytest.raises(ShapeError, match="severities: got no corruptions"):
        summarise_corruptions(0.5, {})
    with pytest.raises(ShapeError, match=r"severities: got \[1, 2\], expected one count"):
        summarise_corruptions(0.5, {"a": np.array([0.1]), "b": np.array([0.1, 0.2])})
