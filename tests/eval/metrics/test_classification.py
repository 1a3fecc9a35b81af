"""Measures against what can be counted by hand, scikit-learn and their definitions."""

import inspect
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

from twinlens.errors import ConfigError, DataError, ShapeError, UnknownNameError
from twinlens.eval.metrics.classification import (
    accuracy,
    average_precision,
    calibration,
    mean_average_precision,
    mean_per_class_recall,
    mean_roc_auc,
    per_class_recall,
    roc_auc,
    softmax_confidence,
    top_k,
)

SEEDS = st.integers(0, 2**32 - 1)


def scored(seed: int, samples: int = 60) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of which many are tied, and truths that they tell something of; some of each."""
    rng = np.random.default_rng(seed)
    positive = rng.random(samples) < rng.uniform(0.05, 0.6)
    positive[:2] = [True, False]
    return rng.integers(0, 12, samples) / 8 + 0.5 * positive, positive


@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_top_k_is_the_head_of_the_sorted_row(k: int, seed: int):
    scores = np.random.default_rng(seed).permuted(
        np.tile(np.arange(7, dtype=np.float32), (5, 1)), axis=1
    )
    assert (top_k(scores, k) == np.argsort(-scores, axis=1)[:, :k]).all()


@given(st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_top_k_takes_the_first_of_equal_ones(k: int, seed: int):
    scores = np.random.default_rng(seed).integers(0, 3, (20, 7)).astype(np.float32)
    assert (top_k(scores, k) == np.argsort(-scores, axis=1, kind="stable")[:, :k]).all()


def test_top_k_needs_k_candidates():
    with pytest.raises(ShapeError, match="got 2, expected at least k=3"):
        top_k(np.zeros((1, 2), np.float32), 3)


def test_accuracy_counts_a_class_anywhere_among_the_ranked():
    ranked = np.array([[0, 1], [1, 0], [2, 1], [2, 0]])
    targets = np.array([0, 0, 0, 2])
    assert accuracy(ranked[:, :1], targets) == 0.5
    assert accuracy(ranked, targets) == 0.75


def test_recall_weighs_classes_not_images():
    recall, samples = per_class_recall(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1]), 3)
    assert recall[:2].tolist() == [1.0, 0.5]
    assert np.isnan(recall[2])
    assert samples.tolist() == [3, 2, 0]


@settings(max_examples=40)
@given(SEEDS, st.integers(2, 9))
def test_mean_per_class_recall_is_scikit_learns_macro_recall(seed: int, classes: int):
    rng = np.random.default_rng(seed)
    targets, predicted = rng.integers(0, classes, (2, 40))
    present = np.unique(targets)
    expected = recall_score(targets, predicted, average="macro", labels=present)
    assert mean_per_class_recall(predicted, targets, classes) == pytest.approx(expected)


def test_mean_per_class_recall_needs_samples():
    none = np.empty(0, np.int64)
    with pytest.raises(DataError, match="samples: got 0, expected at least 1"):
        mean_per_class_recall(none, none, 3)


@settings(max_examples=40)
@given(SEEDS)
def test_average_precision_is_scikit_learns(seed: int):
    scores, positive = scored(seed)
    expected = average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)


@given(SEEDS)
def test_tied_scores_have_no_order(seed: int):
    scores, positive = scored(seed)
    order = np.random.default_rng(seed).permutation(len(scores))
    for interpolation in ("none", "eleven-point"):
        assert average_precision(
            scores, positive, interpolation=interpolation
        ) == average_precision(scores[order], positive[order], interpolation=interpolation)


@given(SEEDS)
def test_eleven_points_are_the_best_precisions_at_their_recalls(seed: int):
    scores, positive = scored(seed)
    curve: list[tuple[Fraction, Fraction]] = []
    for threshold in set(scores.tolist()):
        found = scores >= threshold
        right = int((found & positive).sum())
        curve.append((Fraction(right, int(positive.sum())), Fraction(right, int(found.sum()))))
    points = [
        max(precision for recall, precision in curve if recall >= Fraction(level, 10))
        for level in range(11)
    ]
    measured = average_precision(scores, positive, interpolation="eleven-point")
    assert measured == pytest.approx(float(sum(points) / 11), abs=1e-12)


def test_average_precision_by_hand():
    # Positives at ranks 1, 3 and 6.
    scores, positive = np.arange(6, 0, -1) / 6, np.array([1, 0, 1, 0, 0, 1], bool)
    assert average_precision(scores, positive) == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)
    # Recalls 0 to 0.3 are reached at precision 1, 0.4 to 0.6 at 2/3, 0.7 to 1 at 1/2.
    by_points = average_precision(scores, positive, interpolation="eleven-point")
    assert by_points == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11)


def test_a_recall_of_three_tenths_is_one():
    # 3 of 10 positives come first, then as many negatives: 0.3 counts among the recalls at 1.
    positive = np.array([1] * 3 + [0] * 7 + [1] * 7, bool)
    measured = average_precision(np.arange(17, 0, -1) / 17, positive, interpolation="eleven-point")
    assert measured == pytest.approx((4 * 1 + 7 * 10 / 17) / 11)


def test_average_precision_refuses_what_has_none():
    scores, positive = np.array([0.5, 0.6]), np.array([True, False])
    with pytest.raises(DataError, match="positives: got 0, expected at least 1"):
        average_precision(scores, ~positive & positive)
    with pytest.raises(DataError, match="scores: got nan"):
        average_precision(np.array([0.5, np.nan]), positive)
    with pytest.raises(UnknownNameError, match="did you mean 'eleven-point'"):
        average_precision(scores, positive, interpolation="eleven")
    unchecked = inspect.unwrap(average_precision)  # the tests' own check would come first
    with pytest.raises(ShapeError, match=r"truth: got \[2\], expected \[1\]"):
        unchecked(scores[:1], positive)
    with pytest.raises(ShapeError, match="truth: got int64, expected bool"):
        unchecked(scores, positive.astype(np.int64))


@settings(max_examples=40)
@given(SEEDS)
def test_mean_average_precision_is_over_the_classes_with_positives(seed: int):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (30, 4)) / 8
    positive = rng.random((30, 4)) < 0.3
    positive[0], positive[:, 2] = True, False
    expected = average_precision_score(positive[:, [0, 1, 3]], scores[:, [0, 1, 3]])
    measured, classes = mean_average_precision(scores, positive)
    assert measured == pytest.approx(expected, abs=1e-12)
    assert classes == 3
    by_points = [
        average_precision(scores[:, one], positive[:, one], interpolation="eleven-point")
        for one in (0, 1, 3)
    ]
    measured, _ = mean_average_precision(scores, positive, interpolation="eleven-point")
    assert measured == pytest.approx(np.mean(by_points))


@settings(max_examples=40)
@given(SEEDS)
def test_roc_auc_is_scikit_learns(seed: int):
    scores, positive = scored(seed)
    expected = roc_auc_score(positive, scores)
    assert roc_auc(scores, positive) == pytest.approx(expected, abs=1e-12)


@given(SEEDS)
def test_roc_auc_counts_pairs(seed: int):
    scores, positive = scored(seed, samples=20)
    difference = scores[positive][:, None] - scores[~positive]
    expected = ((difference > 0) + 0.5 * (difference == 0)).mean()
    assert roc_auc(scores, positive) == pytest.approx(expected, abs=1e-12)
    assert roc_auc(-scores, positive) == pytest.approx(1 - expected, abs=1e-12)


def test_roc_auc_needs_both():
    with pytest.raises(DataError, match="got 2 and 0, expected at least 1 of each"):
        roc_auc(np.array([0.1, 0.2]), np.array([True, True]))


def test_mean_roc_auc_is_scikit_learns_one_against_all():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 80)
    scores = rng.integers(1, 6, (80, 4)) + 2 * (targets[:, None] == np.arange(4))
    scores = scores / scores.sum(axis=1, keepdims=True)
    expected = roc_auc_score(targets, scores, multi_class="ovr")
    # A class that no sample has is left out.
    more = np.hstack([scores, rng.random((80, 1))])
    measured, classes = mean_roc_auc(more, targets[:, None] == np.arange(5))
    assert measured == pytest.approx(expected, abs=1e-12)
    assert classes == 4


@pytest.mark.parametrize("measure", [mean_average_precision, mean_roc_auc])
def test_means_need_a_class(measure):
    with pytest.raises(DataError, match="got 0, expected at least 1"):
        measure(np.zeros((3, 2)), np.zeros((3, 2), bool))
    with pytest.raises(ShapeError, match=r"truth: got \[3, 1\], expected \[3, 2\]"):
        inspect.unwrap(measure)(np.zeros((3, 2)), np.zeros((3, 1), bool))


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 20))
def test_calibration_is_scikit_learns_curve(seed: int, bins: int):
    rng = np.random.default_rng(seed)
    # Hundredths: many are tied, some lie on an edge, 0 and 1 are among them.
    confidence = np.concatenate([[0.0, 1.0], rng.integers(0, 101, 80) / 100])
    correct = rng.random(82) < confidence**2
    found = calibration(confidence, correct, num_bins=bins)
    full = found.count > 0
    accuracy_of, confidence_of = calibration_curve(correct, confidence, n_bins=bins)
    assert found.accuracy[full] == pytest.approx(accuracy_of, abs=1e-12)
    assert found.confidence[full] == pytest.approx(confidence_of, abs=1e-12)
    gaps = np.abs(accuracy_of - confidence_of)
    assert found.ece == pytest.approx(np.average(gaps, weights=found.count[full]), abs=1e-12)
    assert found.mce == pytest.approx(gaps.max(), abs=1e-12)
    assert found.brier == pytest.approx(brier_score_loss(correct, confidence), abs=1e-12)
    assert found.lower_edges == pytest.approx(np.arange(bins) / bins)
    assert found.count.sum() == 82


def test_calibration_by_hand():
    confidence = np.array([0.5, 0.6, 0.9, 1.0], np.float32)
    found = calibration(confidence, np.array([True, False, True, True]), num_bins=2)
    assert found.count.tolist() == [1, 3]  # a bin holds its upper edge
    assert found.accuracy.tolist() == pytest.approx([1, 2 / 3])
    assert found.confidence.tolist() == pytest.approx([0.5, 2.5 / 3])
    assert found.ece == pytest.approx(0.25 * 0.5 + 0.75 * 0.5 / 3)
    assert found.mce == pytest.approx(0.5)
    assert found.brier == pytest.approx((0.25 + 0.36 + 0.01) / 4)


def test_empty_bins_say_nothing():
    found = calibration(np.array([0.95, 0.95]), np.array([True, False]), num_bins=10)
    assert np.isnan(found.accuracy[:9]).all()
    assert found.ece == found.mce == pytest.approx(0.45)


def test_calibration_refuses_what_is_no_confidence():
    right = np.array([True, True])
    with pytest.raises(ConfigError, match="bins: got 0"):
        calibration(np.array([0.5, 0.5]), right, num_bins=0)
    for wrong in (1.5, -0.5, np.nan):
        with pytest.raises(DataError, match="expected 0 to 1"):
            calibration(np.array([0.5, wrong]), right)
    with pytest.raises(DataError, match="samples: got 0"):
        calibration(np.empty(0), right[:0])
    with pytest.raises(ShapeError, match="truth: got"):
        inspect.unwrap(calibration)(np.array([0.5]), right)


@given(SEEDS, st.floats(0.1, 300))
def test_softmax_confidence_is_the_largest_probability(seed: int, scale: float):
    logits = (scale * np.random.default_rng(seed).normal(size=(5, 7))).astype(np.float32)
    powers = np.exp(logits.astype(np.longdouble))  # which holds what float64 does not
    expected = (powers.max(axis=1) / powers.sum(axis=1)).astype(np.float64)
    assert softmax_confidence(logits) == pytest.approx(expected, rel=1e-12)


def test_softmax_confidence_is_float64_and_finite():
    assert softmax_confidence(np.array([[0.0, -1e4]], np.float16)).dtype == np.float64
    assert softmax_confidence(np.array([[0.0, -np.inf]])).tolist() == [1.0]
    for wrong in (np.nan, np.inf):
        with pytest.raises(DataError, match="logits: got nan or infinity"):
            softmax_confidence(np.array([[0.0, wrong]]))
