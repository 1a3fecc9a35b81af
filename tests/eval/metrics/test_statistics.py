"""Intervals and tests against exact arithmetic, simulation and their definitions."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.errors import ConfigError, DataError, ShapeError
from twinlens.eval.metrics.classification import average_precision
from twinlens.eval.metrics.statistics import (
    bootstrap,
    bootstrap_means,
    paired_difference,
    percentile_interval,
    sign_test,
    wilson_interval,
)


def right_of_two(samples: int, better: float, seed: int) -> np.ndarray:
    """Which samples two models get right: both about 70%, the first `better` more; alike mostly."""
    rng = np.random.default_rng(seed)
    second = rng.random(samples) < 0.7
    gained = ~second & (rng.random(samples) < (0.03 + better) / 0.3)
    lost = second & (rng.random(samples) < 0.03 / 0.7)
    return np.stack([(second | gained) & ~lost, second]).astype(np.float64)


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


@pytest.mark.parametrize(("gained", "lost"), [(700, 740), (600, 840), (1000, 0)])
def test_the_sign_test_of_a_thousand_is_exact(gained: int, lost: int):
    tosses = gained + lost
    tail = sum(math.comb(tosses, heads) for heads in range(min(gained, lost) + 1))
    assert sign_test(gained, lost) == pytest.approx(2 * tail / 2**tosses, rel=1e-9)


def test_the_sign_test_of_a_million_is_that_of_a_normal_variable():
    # The continuity correction makes them agree to about 1 / tosses.
    for gained, lost in [(500_000, 501_000), (499_000, 501_500), (500_000, 500_010)]:
        deviations = (abs(gained - lost) - 1) / math.sqrt(gained + lost)
        expected = math.erfc(deviations / math.sqrt(2))
        assert sign_test(gained, lost) == pytest.approx(expected, rel=1e-4)
    assert sign_test(500_000, 500_000) == 1.0
    assert sign_test(1_000_000, 0) == 0.0


def test_resamples_depend_on_samples_and_seed_alone():
    seen: list[np.ndarray] = []

    def measure(drawn: np.ndarray) -> dict[str, float]:
        seen.append(drawn)
        return {"sum": float(drawn.sum())}

    long = bootstrap(measure, 50, num_resamples=20, seed=3)["sum"]
    short = bootstrap(measure, 50, num_resamples=5, seed=3)["sum"]
    other = bootstrap(measure, 50, num_resamples=5, seed=4)["sum"]
    assert (long[:5] == short).all()
    assert (other != short).any()
    assert all(len(drawn) == 50 and 0 <= drawn.min() <= drawn.max() < 50 for drawn in seen)


def test_every_sample_is_drawn_as_often_as_any():
    drawn = np.zeros(40)

    def measure(indices: np.ndarray) -> dict[str, float]:
        np.add.at(drawn, indices, 1)
        return {}

    bootstrap(measure, 40, num_resamples=2000)
    # Binomial(80000, 1/40): 2000 expected, a deviation of 44.
    assert abs(drawn - 2000).max() < 5 * 44


@pytest.mark.parametrize("samples", [1, 30, 70_001])
def test_means_are_of_the_same_resamples(samples: int):
    values = np.random.default_rng(0).normal(size=(2, samples)).astype(np.float32)
    exact = values.astype(np.float64)
    slow = bootstrap(
        lambda drawn: {"a": exact[0, drawn].mean(), "b": exact[1, drawn].mean()},
        samples,
        num_resamples=12,
        seed=5,
    )
    fast = bootstrap_means(values, num_resamples=12, seed=5)
    assert fast == pytest.approx(np.stack([slow["a"], slow["b"]]), abs=1e-12)
    assert fast.dtype == np.float64


def test_the_interval_covers_the_truth():
    # 2000 data sets of 200 samples, each a row: their intervals from one call.
    right = np.random.default_rng(0).random((2000, 200)) < 0.3
    replicates = bootstrap_means(right.astype(np.float64))
    low, high = np.array([percentile_interval(row) for row in replicates]).T
    assert 0.93 < np.mean((low <= 0.3) & (high >= 0.3)) < 0.97
    # As wide as the normal one: 1.96 deviations on both sides.
    width = 2 * 1.96 * math.sqrt(0.3 * 0.7 / 200)
    assert np.mean(high - low) == pytest.approx(width, rel=0.02)


def test_the_interval_of_a_measure_that_is_no_mean_covers_the_truth():
    rng = np.random.default_rng(0)

    def draw(samples: int) -> tuple[np.ndarray, np.ndarray]:
        positive = rng.random(samples) < 0.4
        return rng.normal(size=samples) + positive, positive

    truth = average_precision(*draw(200_000))
    covered: list[bool] = []
    for seed in range(40):
        scores, positive = draw(100)
        found = bootstrap(
            lambda drawn, s=scores, p=positive: {"ap": average_precision(s[drawn], p[drawn])},
            100,
            num_resamples=80,
            seed=seed,
        )
        low, high = percentile_interval(found["ap"])
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.85


def test_a_real_difference_is_found_and_its_size_is_covered():
    found = paired_difference(*bootstrap_means(right_of_two(2000, 0.04, seed=0)))
    assert 0 < found.low < 0.04 < found.high
    assert found.p_value < 0.01
    turned = paired_difference(*bootstrap_means(right_of_two(2000, 0.04, seed=0)[::-1]))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert turned.p_value == found.p_value


def test_no_difference_is_found_no_more_often_than_it_should():
    pairs = bootstrap_means(np.concatenate([right_of_two(400, 0, seed) for seed in range(300)]))
    p_values = np.array([paired_difference(*pairs[i : i + 2]).p_value for i in range(0, 600, 2)])
    # 15 of 300 are expected below 0.05, with a deviation of 3.8; 150 below 0.5, with one of 8.7.
    assert 3 <= (p_values < 0.05).sum() <= 28
    assert 110 <= (p_values < 0.5).sum() <= 190


def test_the_bootstrap_agrees_with_the_sign_test():
    right = np.zeros((2, 1000))
    right[0, :60], right[1, 60:100] = 1, 1  # 60 gained and 40 lost
    drawn = paired_difference(*bootstrap_means(right, num_resamples=4000))
    assert drawn.p_value == pytest.approx(sign_test(60, 40), abs=0.02)


def test_pairs_tell_more_than_strangers():
    right = right_of_two(2000, 0.02, seed=1)
    pair = paired_difference(*bootstrap_means(right))
    strangers = paired_difference(
        bootstrap_means(right[:1], seed=0)[0], bootstrap_means(right[1:], seed=1)[0]
    )
    assert pair.high - pair.low < 0.6 * (strangers.high - strangers.low)


def test_equal_models_are_equal():
    replicates = bootstrap_means(right_of_two(100, 0, seed=0)[:1])[0]
    same = paired_difference(replicates, replicates)
    assert (same.low, same.high, same.p_value) == (0.0, 0.0, 1.0)


def test_p_values_are_never_zero():
    apart = paired_difference(np.ones(199), np.zeros(199))
    assert apart.p_value == pytest.approx(2 / 200)


def test_the_interval_is_the_middle_of_the_replicates():
    replicates = np.random.default_rng(0).permutation(np.arange(2001.0))
    assert percentile_interval(replicates) == (50.0, 1950.0)


def test_refusals():
    with pytest.raises(ConfigError, match="times: got 0, expected at least 1"):
        bootstrap_means(np.zeros((1, 3)), num_resamples=0)
    with pytest.raises(DataError, match="samples: got 0, expected at least 1"):
        bootstrap_means(np.zeros((1, 0)))
    with pytest.raises(DataError, match="samples: got 0, expected at least 1"):
        bootstrap(lambda _: {}, 0)
    with pytest.raises(DataError, match="values: got nan or infinity"):
        bootstrap_means(np.array([[0.0, np.nan]]))
    names = iter("ab")
    with pytest.raises(DataError, match=r"metrics: got \['b'\] once, expected \['a'\]"):
        bootstrap(lambda _: {next(names): 0.0}, 3, num_resamples=2)
    with pytest.raises(DataError, match="replicates: got nan"):
        percentile_interval(np.array([0.0, np.nan]))
    with pytest.raises(DataError, match="replicates: got none"):
        percentile_interval(np.empty(0))
    with pytest.raises(ShapeError, match=r"second: got \[2\], expected \[3\]"):
        inspect.unwrap(paired_difference)(np.zeros(3), np.zeros(2))
