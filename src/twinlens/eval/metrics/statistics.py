"""How sure a measure is: intervals and paired tests, as pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from twinlens.errors import DataError, ShapeError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""A normal variable lies within this many standard deviations 95 times in 100."""

_AT_ONCE = 1 << 15
"""Indices drawn at a time, which a processor's cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """By how much one model measures higher than another on the same samples.

    Attributes:
        low: Lower end of the 95% interval of the first's measure minus the second's.
        high: Its upper end.
        p_value: How likely two equally good models differ by so much, in (0, 1].
    """

    low: float
    high: float
    p_value: float


def bootstrap(
    measure: Callable[[NDArray[np.int64]], Mapping[str, float]],
    samples: int,
    *,
    times: int = 1000,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Measure resamples of a data set: what else could have been measured (Efron 1979).

    Which samples are drawn depends on `samples` and `seed` alone, and the first of many resamples
    are those of few: replicates of two models on the same samples are pairs.

    Args:
        measure: Takes indices of samples, int64 [samples], some of them several times and some
            not at all, and gives metrics by their keys. What it raises ends all.
        samples: How many there are.
        times: Resamples.
        seed: Of the drawing.

    Returns:
        Each metric's replicates: float64 [times].

    Raises:
        ConfigError: `times` is not positive.
        DataError: There are no samples, or the metrics are not the same ones every time.

    Example:
        >>> right = np.array([True, True, False, True])
        >>> found = bootstrap(lambda drawn: {"acc1": right[drawn].mean()}, 4, times=100)
        >>> found["acc1"].shape
        (100,)
    """
    _check(samples, times)
    rng = np.random.default_rng(seed)
    rows = [measure(np.concatenate(list(_drawn(rng, samples)))) for _ in range(times)]
    for row in rows:
        if row.keys() != rows[0].keys():
            raise DataError(f"metrics: got {list(row)} once, expected {list(rows[0])}")
    return {key: np.array([row[key] for row in rows], np.float64) for key in rows[0]}


def bootstrap_means(
    values: Float[np.ndarray, "metric sample"], *, times: int = 1000, seed: int = 0
) -> Float[np.ndarray, "metric times"]:
    """The same as `bootstrap` for metrics that are means of one number a sample, but faster.

    The resamples are the same ones too. Rows may be metrics of one model or of several.

    Args:
        values: What is averaged, such as 1 for right and 0 for wrong.
        times: Resamples.
        seed: Of the drawing.

    Returns:
        The means over each resample: float64 [metric, times].

    Raises:
        ConfigError: `times` is not positive.
        DataError: There are no samples, or a value is nan or infinite.

    Example:
        >>> right = np.array([1.0, 1.0, 0.0, 1.0])
        >>> fast = bootstrap_means(right[None], times=100)
        >>> slow = bootstrap(lambda drawn: {"acc1": right[drawn].mean()}, 4, times=100)
        >>> np.allclose(fast[0], slow["acc1"])
        True
    """
    metrics, samples = values.shape
    _check(samples, times)
    if not np.isfinite(values).all():
        raise DataError("values: got nan or infinity, expected finite numbers")
    exact = values.astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty((metrics, times))
    # A byte is enough: one sample is drawn more than 255 times less than once in 256! resamples.
    count = np.empty(samples, np.uint8)
    once = np.uint8(1)  # of the counts' type: of another, numpy takes fifty times as long
    for number in range(times):
        count[:] = 0
        for drawn in _drawn(rng, samples):
            np.add.at(count, drawn, once)
        means[:, number] = exact @ count
    return means / samples


def percentile_interval(replicates: Float[np.ndarray, " times"]) -> tuple[float, float]:
    """The 95% interval of a measure from its replicates: their middle 95%.

    Raises:
        DataError: There are no replicates, or one is nan.

    Example:
        >>> percentile_interval(np.arange(1001) / 1000)
        (0.025, 0.975)
    """
    if not len(replicates) or np.isnan(replicates).any():
        got = "nan" if len(replicates) else "none"
        raise DataError(f"replicates: got {got}, expected numbers")
    low, high = np.quantile(replicates, [0.025, 0.975])
    return float(low), float(high)


def intervals_of(
    replicates: Mapping[str, NDArray[np.float64]], metrics: Mapping[str, float], samples: int
) -> dict[str, tuple[float, float]]:
    """The 95% interval of each metric from its replicates.

    Of a fraction that is exactly 0 or 1 all resamples are the same: it gets Wilson's interval. The
    calibration error `ece` of a resample is larger than that of the data set, on average: its
    interval is moved down by that.

    Args:
        replicates: From `bootstrap`; those that are nan could not be measured, and are left out.
        metrics: What was measured.
        samples: How many samples that was.
    """
    found: dict[str, tuple[float, float]] = {}
    for key, drawn in replicates.items():
        value, finite = metrics[key], drawn[np.isfinite(drawn)]
        if not len(finite):
            continue
        is_rank = key.endswith("median_rank")  # of which 1 is no end
        if value in (0.0, 1.0) and np.all(finite == value) and not is_rank:
            found[key] = wilson_interval(value, samples)
            continue
        moved = float(finite.mean()) - value if key == "ece" else 0.0
        low, high = percentile_interval(finite - moved)
        found[key] = (max(0.0, low), high) if key == "ece" else (low, high)
    return found


def paired_difference(
    first: Float[np.ndarray, " times"], second: Float[np.ndarray, " times"]
) -> Difference:
    """Compare two models by replicates of one measure on the same resamples.

    The test is two-sided: twice the share of resamples in which the difference is zero or of the
    other sign, the measured data set counted as one of them (Davison & Hinkley 1997).
    So it is at least 2 / (times + 1).

    Args:
        first: Replicates from `bootstrap` or `bootstrap_means`.
        second: Those of the other model, of the same samples and seed.

    Raises:
        DataError: There are no replicates, or one is nan.
        ShapeError: There are not as many of each.

    Example:
        >>> paired_difference(np.full(999, 0.75), np.full(999, 0.5))
        Difference(low=0.25, high=0.25, p_value=0.002)
    """
    if first.shape != second.shape:
        raise ShapeError(f"second: got {list(second.shape)}, expected {list(first.shape)}")
    difference = first - second
    low, high = percentile_interval(difference)
    opposed = min(int((difference <= 0).sum()), int((difference >= 0).sum()))
    p_value = min(1.0, 2 * (opposed + 1) / (len(difference) + 1))
    return Difference(low=low, high=high, p_value=p_value)


def sign_test(gained: int, lost: int) -> float:
    """How likely two equally good models differ by so much on the same samples, in [0, 1].

    McNemar's exact test: samples that both get right or both wrong say nothing, the others are
    thrown coins.

    Args:
        gained: Samples that only one of the models gets right.
        lost: Those that only the other does.

    Example:
        >>> round(sign_test(9, 1), 6)
        0.021484
    """
    return min(1.0, 2 * binomial_cdf(min(gained, lost), gained + lost, 0.5))


def wilson_interval(fraction: float, samples: int) -> tuple[float, float]:
    """The 95% interval of a fraction measured on independent samples (Wilson 1927).

    Unlike the usual plus-or-minus it stays in [0, 1] and holds for fractions near the ends and
    for few samples.

    Example:
        >>> low, high = wilson_interval(0.5, 100)
        >>> round(low, 4), round(high, 4)
        (0.4038, 0.5962)
    """
    if samples == 0:
        return 0.0, 1.0
    weight = Z_95**2 / samples
    centre = (fraction + weight / 2) / (1 + weight)
    spread = fraction * (1 - fraction) / samples + weight / (4 * samples)
    half = Z_95 * math.sqrt(spread) / (1 + weight)
    # Rounding must not push an end past the fraction itself.
    return min(fraction, max(0.0, centre - half)), max(fraction, min(1.0, centre + half))


def clopper_pearson(right: int, samples: int, *, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a fraction measured on independent samples (Clopper & Pearson 1934).

    It holds the truth at least so often, which makes it wider than Wilson's. CLIP's paper uses it
    for data that overlap with the training set (appendix C).

    Args:
        right: Of how many samples it holds.
        samples: How many there are.
        level: How often the interval holds the truth, in (0, 1).

    Raises:
        ConfigError: The level is out of its range.
        DataError: `right` is not in 0 to `samples`.

    Example:
        >>> low, high = clopper_pearson(50, 100)
        >>> round(low, 4), round(high, 4)
        (0.3983, 0.6017)
    """
    require(0 < level < 1, "level", level, "more than 0, less than 1")
    if not 0 <= right <= samples:
        raise DataError(f"right: got {right}, expected 0 to {samples}")
    if samples == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    return 1 - _upper_end(samples - right, samples, tail), _upper_end(right, samples, tail)


def binomial_cdf(successes: int, trials: int, chance: float) -> float:
    """How likely so many successes or fewer are in independent trials, in [0, 1].

    Small values are as exact as large ones: about 8 digits for a million trials, more for fewer.
    For so many or more, ask for the failures: `binomial_cdf(trials - successes, trials,
    1 - chance)`.

    Raises:
        DataError: The chance of a success is not in [0, 1].

    Example:
        >>> round(binomial_cdf(1, 3, 0.5), 6)
        0.5
    """
    if not 0 <= chance <= 1:
        raise DataError(f"chance: got {chance}, expected 0 to 1")
    if successes >= trials or (chance == 0 and successes >= 0):
        return 1.0
    if chance == 1 or successes < 0:
        return 0.0
    if successes > trials * chance:
        return 1 - binomial_cdf(trials - successes - 1, trials, 1 - chance)
    # Below the mean, the i-th term from here down is at most exp(-i^2 / (2 successes)) of the
    # first one: what comes after ten roots adds nothing.
    last = max(0, successes - 10 * math.isqrt(successes) - 10)
    number = np.arange(successes, last, -1, dtype=np.float64)
    ratios = number / (trials - number + 1) * ((1 - chance) / chance)
    first = math.exp(_log_binomial(successes, trials, chance))
    return min(1.0, first * (1 + float(np.cumprod(ratios).sum())))


def _log_binomial(successes: int, trials: int, chance: float) -> float:
    """The log of how likely exactly so many successes are."""
    failures = trials - successes
    ways = math.lgamma(trials + 1) - math.lgamma(successes + 1) - math.lgamma(failures + 1)
    return ways + successes * math.log(chance) + failures * math.log1p(-chance)


def _upper_end(right: int, samples: int, tail: float) -> float:
    """The chance at which so few or fewer come up as rarely as `tail`, by halving."""
    low, high = right / samples, 1.0
    while low < (middle := (low + high) / 2) < high:
        if binomial_cdf(right, samples, middle) > tail:
            low = middle
        else:
            high = middle
    return high


def _drawn(rng: np.random.Generator, samples: int) -> Iterator[NDArray[np.int64]]:
    """One resample's indices, a part at a time."""
    for start in range(0, samples, _AT_ONCE):
        yield rng.integers(samples, size=min(_AT_ONCE, samples - start))


def _check(samples: int, times: int) -> None:
    require(times >= 1, "times", times, "at least 1")
    if samples < 1:
        raise DataError(f"samples: got {samples}, expected at least 1")
