"""The search for a strength against the paper's words, and draws of few samples."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from twinlens.errors import ConfigError, DataError, ShapeError
from twinlens.eval.tasks import probe_search
from twinlens.eval.tasks.probe_search import (
    ONE_SHOT_STRENGTH,
    STRENGTHS,
    FewShot,
    Labelled,
    draw_shots,
    few_shot,
    probe_accuracy,
    search,
    strongest_of_best,
    sweep,
)


@pytest.fixture(scope="module")
def digits() -> Labelled:
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    return Labelled(features[order].astype(np.float32), targets[order].astype(np.int64))


def test_strengths_are_the_papers():
    assert len(STRENGTHS) == 97  # 96 steps
    assert (STRENGTHS[0], STRENGTHS[48], STRENGTHS[-1]) == (1e-6, 1.0, 1e6)
    assert np.diff(np.log10(STRENGTHS)) == pytest.approx(1 / 8)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_search_tries_what_the_paper_says(seed: int):
    # Scores with ties, and many peaks.
    scores = np.random.default_rng(seed).integers(0, 4, 97)
    tried = search(lambda strength: float(scores[round(8 * math.log10(strength)) + 48]))

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
    tried = search(lambda strength: -abs(math.log10(strength / STRENGTHS[place])))
    assert strongest_of_best(tried) == STRENGTHS[place]
    assert len(tried) <= 15


def test_of_equal_strengths_the_strongest():
    assert strongest_of_best({1.0: 0.5, 10.0: 0.9, 100.0: 0.9, 1000.0: 0.8}) == 100.0
    assert strongest_of_best(search(lambda strength: 0.5)) == 1e6


def test_sweep_agrees_with_scikit_learn(digits: Labelled):
    train, validation = digits[np.arange(300)], digits[np.arange(300, 500)]
    test = digits[np.arange(500, 1797)]
    found = sweep(train, validation, 10)
    assert found.unconverged == ()
    assert found.probe.converged
    assert found.strength == found.probe.strength == strongest_of_best(found.tried)
    # Strong ones, where scikit-learn is soon at its optimum; the others would take a minute. In
    # float32 it stops short of it: rounding decides where.
    exact = train.features.astype(np.float64)
    for strength in [one for one in found.tried if one >= 10]:
        peer = LogisticRegression(C=1 / strength, tol=1e-6, max_iter=5000)
        expected = peer.fit(exact, train.targets).score(validation.features, validation.targets)
        assert found.tried[strength] == pytest.approx(expected, abs=0.0051)  # a sample of 200
    both = digits[np.arange(500)]
    peer = LogisticRegression(C=1 / found.strength, max_iter=5000).fit(both.features, both.targets)
    assert probe_accuracy(found.probe, test) == pytest.approx(
        peer.score(test.features, test.targets), abs=0.003
    )


def test_sweep_tells_what_it_does_and_what_was_cut_short(digits: Labelled):
    told: list[tuple[int, int, str]] = []
    found = sweep(
        digits[np.arange(100)],
        digits[np.arange(100, 200)],
        10,
        iterations=3,
        progress=lambda done, total, what="": told.append((done, total, what)),
    )
    assert set(found.unconverged) <= set(found.tried)
    assert 1e-6 in found.unconverged
    assert not found.probe.converged
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[0] == (0, 16, "strength 1e+06")
    assert told[-1] == (16, 16, "")


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


def test_few_shots(digits: Labelled):
    test = digits[np.arange(1000, 1797)]
    told: list[int] = []
    found = few_shot(
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
    assert [one.strength for one in found[:2]] == [ONE_SHOT_STRENGTH] * 2
    assert all(one.strength in STRENGTHS for one in found)
    mean = [np.mean([one.accuracy for one in found[i : i + 2]]) for i in (0, 2, 4)]
    assert 0.3 < mean[0] < mean[1] < mean[2] < 0.95


def test_few_shots_choose_on_what_was_drawn(digits: Labelled, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[int, int]] = []
    regression = probe_search.Regression

    def spied(features: np.ndarray, targets: np.ndarray, classes: int) -> probe_search.Regression:
        counts = np.bincount(targets, minlength=classes)
        seen.append((int(counts.min()), int(counts.max())))
        return regression(features, targets, classes)

    monkeypatch.setattr(probe_search, "Regression", spied)
    few_shot(digits, digits[np.arange(50)], 10, shots=(5,), seeds=(0,))
    # Shots 0 and 4 are held out together, the others each alone; then all are fitted to.
    assert seen == [(3, 3), (4, 4), (4, 4), (4, 4), (5, 5)]


def test_a_draw_is_the_probe_of_its_samples(digits: Labelled):
    train, test = digits[np.arange(400)], digits[np.arange(400, 1797)]
    (found,) = few_shot(train, test, 10, shots=(1,), seeds=(3,))
    drawn = train[draw_shots(train.targets, 10, shots=1, seed=3).ravel()]
    peer = LogisticRegression(C=1 / ONE_SHOT_STRENGTH, tol=1e-8, max_iter=5000)
    expected = peer.fit(drawn.features, drawn.targets).score(test.features, test.targets)
    assert found == FewShot(
        shots=1,
        seed=3,
        accuracy=pytest.approx(expected, abs=0.002),
        strength=ONE_SHOT_STRENGTH,
        converged=True,
    )


def test_bad_sets():
    two = Labelled(np.array([[0.0], [1.0], [0.1]]), np.array([0, 1, 0]))
    wider = Labelled(np.zeros((2, 2)), np.array([0, 1]))
    empty = Labelled(np.zeros((0, 1)), np.zeros(0, np.int64))
    with pytest.raises(DataError, match="class 1: got 1 samples, expected at least 2"):
        few_shot(two, two, 2, shots=(1, 2))
    with pytest.raises(DataError, match="class 2: got no samples"):
        sweep(two, two, 3)
    with pytest.raises(DataError, match="class 2: got 0 samples, expected at least 1"):
        few_shot(two, two, 3, shots=(1,))
    with pytest.raises(DataError, match="targets: got 2, expected 0 to 1"):
        sweep(two, Labelled(two.features, np.array([0, 1, 2])), 2)
    for function in (sweep, few_shot):
        with pytest.raises(DataError, match=r"features: got \[0, 1\]"):
            inspect.unwrap(function)(two, empty, 2)
        with pytest.raises(ShapeError, match="features: got 2 a sample, expected 1 as in"):
            inspect.unwrap(function)(two, wider, 2)
    with pytest.raises(ConfigError, match="shots: got 0, expected at least 1"):
        draw_shots(two.targets, 2, shots=0, seed=0)
