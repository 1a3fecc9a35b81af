"""Measures against what can be counted by hand or by another way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.errors import ShapeError
from twinlens.eval.metrics import (
    accuracy,
    recall_per_class,
    sign_test,
    top_k,
    wilson_interval,
)


@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_top_k_is_the_head_of_the_sorted_row(k: int, seed: int):
    scores = np.random.default_rng(seed).permuted(
        np.tile(np.arange(7, dtype=np.float32), (5, 1)), axis=1
    )
    assert (top_k(scores, k) == np.argsort(-scores, axis=1)[:, :k]).all()


def test_top_k_needs_k_candidates():
    with pytest.raises(ShapeError, match="got 2, expected at least k=3"):
        top_k(np.zeros((1, 2), np.float32), 3)


def test_accuracy_counts_a_class_anywhere_among_the_ranked():
    ranked = np.array([[0, 1], [1, 0], [2, 1], [2, 0]])
    targets = np.array([0, 0, 0, 2])
    assert accuracy(ranked[:, :1], targets) == 0.5
    assert accuracy(ranked, targets) == 0.75


def test_recall_weighs_classes_not_pictures():
    recall, samples = recall_per_class(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1]), 3)
    assert recall[:2].tolist() == [1.0, 0.5]
    assert np.isnan(recall[2])
    assert samples.tolist() == [3, 2, 0]


@pytest.mark.parametrize(("right", "samples"), [(0, 10), (1, 10), (50, 100), (100, 100)])
def test_wilson_interval_solves_its_equation(right: int, samples: int):
    # Wilson: the ends are the fractions p from which the measured one lies 1.96 deviations off.
    fraction = right / samples
    for end in wilson_interval(fraction, samples):
        deviation = 1.959963984540054 * np.sqrt(end * (1 - end) / samples)
        assert abs(fraction - end) == pytest.approx(deviation, abs=1e-12)


@given(st.integers(1, 5000), st.data())
def test_wilson_interval_holds_the_fraction_and_stays_in_range(samples: int, data: st.DataObject):
    fraction = data.draw(st.integers(0, samples)) / samples
    low, high = wilson_interval(fraction, samples)
    assert 0 <= low <= fraction <= high <= 1


def test_nothing_measured_is_nothing_known():
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


def test_wilson_interval_covers_the_truth():
    found = np.random.default_rng(0).binomial(40, 0.1, size=4000) / 40
    covered = [low <= 0.1 <= high for low, high in (wilson_interval(f, 40) for f in found)]
    assert 0.92 < np.mean(covered) < 0.98


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_sign_test_adds_up_all_outcomes_that_are_no_likelier(gained: int, lost: int):
    tosses = gained + lost
    chances = [math.comb(tosses, heads) / 2**tosses for heads in range(tosses + 1)]
    expected = sum(chance for chance in chances if chance <= chances[gained] * (1 + 1e-12))
    assert sign_test(gained, lost) == pytest.approx(expected)
