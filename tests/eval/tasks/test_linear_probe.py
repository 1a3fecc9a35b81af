"""Draws of few samples, and probes fitted to them."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from twinlens.embed.probe import L2_PENALTIES, ONE_SHOT_L2_PENALTY, LabelledFeatures
from twinlens.errors import ConfigError, DataError, ShapeError
from twinlens.eval.tasks import linear_probe
from twinlens.eval.tasks.linear_probe import FewShotProbe, draw_shots, evaluate_few_shot


@pytest.fixture(scope="module")
def digits() -> LabelledFeatures:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    return LabelledFeatures(features[order].astype(np.float32), targets[order].astype(np.int64))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_draws_are_balanced_nested_and_seeded(seed: int, shots: int):
    targets = np.random.default_rng(0).permutation(np.arange(60) % 5)
    drawn = draw_shots(targets, 5, shots=shots, seed=seed)
    assert (targets[drawn] == np.arange(5)).all()
    assert len(np.unique(drawn)) == 5 * shots
    assert (draw_shots(targets, 5, shots=12, seed=seed)[:shots] == drawn).all()
    assert (draw_shots(targets, 5, shots=shots, seed=seed) == drawn).all()


def test_seeds_draw_differently():
    targets = np.arange(100) % 2
    draws = {draw_shots(targets, 2, shots=3, seed=seed).tobytes() for seed in range(5)}
    assert len(draws) == 5


def test_few_shots(digits: LabelledFeatures):
    test = digits[np.arange(1000, 1797)]
    told: list[int] = []
    found = evaluate_few_shot(
        digits[np.arange(1000)],
        test,
        10,
        shots=(1, 2, 5),
        seeds=(0, 1),
        progress=lambda done, total, what="": told.append(done),
    )
    assert [(one.shots, one.seed) for one in found] == [
        (1, 0), (1, 1), (2, 0), (2, 1), (5, 0), (5, 1)
    ]  # fmt: skip
    assert told == [0, 1, 2, 3, 4, 5, 6]
    assert all(one.converged for one in found)
    assert [one.l2_penalty for one in found[:2]] == [ONE_SHOT_L2_PENALTY] * 2
    assert all(one.l2_penalty in L2_PENALTIES for one in found)
    mean = [np.mean([one.accuracy for one in found[i : i + 2]]) for i in (0, 2, 4)]
    assert 0.3 < mean[0] < mean[1] < mean[2] < 0.95


def test_few_shots_choose_on_what_was_drawn(
    digits: LabelledFeatures, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[int, int]] = []
    regression = linear_probe.LogisticRegressionSolver

    def spied(
        features: np.ndarray, targets: np.ndarray, classes: int
    ) -> linear_probe.LogisticRegressionSolver:
        counts = np.bincount(targets, minlength=classes)
        seen.append((int(counts.min()), int(counts.max())))
        return regression(features, targets, classes)

    monkeypatch.setattr(linear_probe, "LogisticRegressionSolver", spied)
    evaluate_few_shot(digits, digits[np.arange(50)], 10, shots=(5,), seeds=(0,))
    # Shots 0 and 4 are held out together, the others each alone; then all are fitted to.
    assert seen == [(3, 3), (4, 4), (4, 4), (4, 4), (5, 5)]


def test_a_draw_is_the_probe_of_its_samples(digits: LabelledFeatures):
    train, test = digits[np.arange(400)], digits[np.arange(400, 1797)]
    (found,) = evaluate_few_shot(train, test, 10, shots=(1,), seeds=(3,))
    drawn = train[draw_shots(train.targets, 10, shots=1, seed=3).ravel()]
    peer = LogisticRegression(C=1 / ONE_SHOT_L2_PENALTY, tol=1e-8, max_iter=5000)
    expected = peer.fit(drawn.features, drawn.targets).score(test.features, test.targets)
    assert found == FewShotProbe(
        shots=1,
        seed=3,
        accuracy=pytest.approx(expected, abs=0.002),
        l2_penalty=ONE_SHOT_L2_PENALTY,
        converged=True,
    )


def test_bad_sets():
    two = LabelledFeatures(np.array([[0.0], [1.0], [0.1]]), np.array([0, 1, 0]))
    wider = LabelledFeatures(np.zeros((2, 2)), np.array([0, 1]))
    empty = LabelledFeatures(np.zeros((0, 1)), np.zeros(0, np.int64))
    unchecked = inspect.unwrap(evaluate_few_shot)
    with pytest.raises(DataError, match="class 1: got 1 samples, expected at least 2"):
        evaluate_few_shot(two, two, 2, shots=(1, 2), seeds=(0,))
    with pytest.raises(DataError, match="class 2: got 0 samples, expected at least 1"):
        evaluate_few_shot(two, two, 3, shots=(1,), seeds=(0,))
    with pytest.raises(DataError, match=r"features: got \[0, 1\]"):
        unchecked(two, empty, 2, shots=(1,), seeds=(0,))
    with pytest.raises(ShapeError, match="features: got 2 a sample, expected 1 as in"):
        unchecked(two, wider, 2, shots=(1,), seeds=(0,))
    with pytest.raises(ConfigError, match="shots: got 0, expected at least 1"):
        draw_shots(two.targets, 2, shots=0, seed=0)
