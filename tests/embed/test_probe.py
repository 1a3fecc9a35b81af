"""The search for a penalty against the paper's description, and what is held out."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from twinlens.embed.probe import (
    L2_PENALTIES,
    ONE_SHOT_L2_PENALTY,
    LabelledFeatures,
    best_l2_penalty,
    draw_validation_mask,
    fit_linear_probe,
    probe_accuracy,
    search_l2_penalty,
    sweep_l2_penalty,
)
from twinlens.errors import DataError, ShapeError


@pytest.fixture(scope="module")
def digits() -> LabelledFeatures:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    return LabelledFeatures(features[order].astype(np.float32), targets[order].astype(np.int64))


def test_strengths_are_the_papers():
    assert len(L2_PENALTIES) == 97  # 96 steps
    assert (L2_PENALTIES[0], L2_PENALTIES[48], L2_PENALTIES[-1]) == (1e-6, 1.0, 1e6)
    assert np.diff(np.log10(L2_PENALTIES)) == pytest.approx(1 / 8)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_search_tries_what_the_paper_says(seed: int):
    # Scores with ties, and many peaks.
    scores = np.random.default_rng(seed).integers(0, 4, 97)
    tried = search_l2_penalty(lambda strength: float(scores[round(8 * math.log10(strength)) + 48]))

    def score(decades: float) -> float:
        return float(scores[round(8 * decades) + 48])

    decades, interval = [-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0], 2.0
    while interval > 1 / 8:
        interval /= 2
        top = max(score(one) for one in decades)
        peak = max(one for one in decades if score(one) == top)
        decades += [one for one in (peak - interval, peak + interval) if abs(one) <= 6]
    assert [round(math.log10(one), 6) for one in tried] == sorted(set(decades))
    assert list(tried.values()) == [score(one) for one in sorted(set(decades))]


@settings(max_examples=30)
@given(st.integers(0, 96))
def test_search_finds_a_single_peak(place: int):
    tried = search_l2_penalty(lambda strength: -abs(math.log10(strength / L2_PENALTIES[place])))
    assert best_l2_penalty(tried) == L2_PENALTIES[place]
    assert len(tried) <= 15


def test_of_equal_strengths_the_strongest():
    assert best_l2_penalty({1.0: 0.5, 10.0: 0.9, 100.0: 0.9, 1000.0: 0.8}) == 100.0
    assert best_l2_penalty(search_l2_penalty(lambda strength: 0.5)) == 1e6


def test_sweep_agrees_with_scikit_learn(digits: LabelledFeatures):
    train, validation = digits[np.arange(300)], digits[np.arange(300, 500)]
    test = digits[np.arange(500, 1797)]
    found = sweep_l2_penalty(train, validation, 10)
    assert found.unconverged == ()
    assert found.probe.converged
    assert (
        found.l2_penalty == found.probe.l2_penalty == best_l2_penalty(found.validation_accuracies)
    )
    # Strong ones, where scikit-learn is soon at its optimum; the others would take a minute. In
    # float32 it stops short of it: rounding decides where.
    exact = train.features.astype(np.float64)
    for strength in [one for one in found.validation_accuracies if one >= 10]:
        peer = LogisticRegression(C=1 / strength, tol=1e-6, max_iter=5000)
        expected = peer.fit(exact, train.targets).score(validation.features, validation.targets)
        assert found.validation_accuracies[strength] == pytest.approx(
            expected, abs=0.0051
        )  # a sample of 200
    both = digits[np.arange(500)]
    peer = LogisticRegression(C=1 / found.l2_penalty, max_iter=5000).fit(
        both.features, both.targets
    )
    assert probe_accuracy(found.probe, test) == pytest.approx(
        peer.score(test.features, test.targets), abs=0.003
    )


def test_sweep_tells_what_it_does_and_what_was_cut_short(digits: LabelledFeatures):
    told: list[tuple[int, int, str]] = []
    found = sweep_l2_penalty(
        digits[np.arange(100)],
        digits[np.arange(100, 200)],
        10,
        max_iterations=3,
        progress=lambda done, total, what="": told.append((done, total, what)),
    )
    assert set(found.unconverged) <= set(found.validation_accuracies)
    assert 1e-6 in found.unconverged
    assert not found.probe.converged
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[0] == (0, 16, "L2 penalty 1e+06")
    assert told[-1] == (16, 16, "")


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_a_fifth_of_each_class_is_held_out(seed: int, samples: int):
    targets = np.random.default_rng(0).permutation(np.arange(samples) % 7)
    held = draw_validation_mask(targets, seed=seed)
    for number, count in enumerate(np.bincount(targets)):
        expected = max(count // 5, 1) if count > 1 else 0
        assert held[targets == number].sum() == expected
    np.testing.assert_array_equal(held, draw_validation_mask(targets, seed=seed))


def test_a_probe_without_a_bias_chooses_and_fits_as_the_sweep_does(digits: LabelledFeatures):
    data, test = digits[np.arange(400)], digits[np.arange(400, 1797)]
    probe = fit_linear_probe(data, 12, bias=False, seed=3)  # two classes have no sample
    held = draw_validation_mask(data.targets, seed=3)
    expected = sweep_l2_penalty(data[~held], data[held], 12, bias=False).probe
    np.testing.assert_array_equal(probe.weight, expected.weight)
    np.testing.assert_array_equal(probe.bias, np.zeros(12))
    assert probe_accuracy(probe, test) > 0.9


def test_of_single_samples_none_is_held_out():
    single = LabelledFeatures(np.eye(3, dtype=np.float32), np.arange(3))
    probe = fit_linear_probe(single, 3, bias=False)
    assert probe.l2_penalty == ONE_SHOT_L2_PENALTY
    assert probe_accuracy(probe, single) == 1.0


def test_bad_sets():
    two = LabelledFeatures(np.array([[0.0], [1.0], [0.1]]), np.array([0, 1, 0]))
    wider = LabelledFeatures(np.zeros((2, 2)), np.array([0, 1]))
    empty = LabelledFeatures(np.zeros((0, 1)), np.zeros(0, np.int64))
    unchecked = inspect.unwrap(sweep_l2_penalty)
    with pytest.raises(DataError, match="class 2: got no samples"):
        sweep_l2_penalty(two, two, 3)
    with pytest.raises(DataError, match="targets: got 2, expected 0 to 1"):
        sweep_l2_penalty(two, LabelledFeatures(two.features, np.array([0, 1, 2])), 2)
    with pytest.raises(DataError, match=r"features: got \[0, 1\]"):
        unchecked(two, empty, 2)
    with pytest.raises(ShapeError, match="features: got 2 a sample, expected 1 as in"):
        unchecked(two, wider, 2)
