"""Confidence intervals and paired tests, as pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from twinlens.errors import DataError, require, require_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""Standard deviations from the mean within which 95% of a normal distribution lie."""

_INDEX_CHUNK = 1 << 15
"""Indices drawn at a time, few enough to fit in a processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """The difference of two models' metrics on the same samples.

    Attributes:
        low: Lower end of the 95% interval of the first's metric minus the second's.
        high: Upper end of that interval.
        p_value: Probability that two equally good models differ by so much, in (0, 1].
    """

    low: float
    high: float
    p_value: float


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], Mapping[str, float]],
    num_samples: int,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Measure metrics on resamples of a data set, drawn with replacement (Efron 1979).

    The samples drawn depend on `num_samples` and `seed` alone, and the first of many resamples are
    those of few: replicates of two models on the same samples are pairs.

    Args:
        statistic: Takes indices of samples, int64 [sample], some of them several times and some
            not at all, and gives metrics by their keys.
        num_samples: Number of samples.
        num_resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        Each metric's replicates: float64 [replicate].

    Raises:
        ConfigError: `num_resamples` is not positive.
        DataError: There are no samples, or the metrics are not the same ones every time.

    Example:
        >>> right = np.array([True, True, False, True])
        >>> drawn = bootstrap(lambda rows: {"acc1": right[rows].mean()}, 4, num_resamples=100)
        >>> drawn["acc1"].shape
        (100,)
    """
    _check_sizes(num_samples, num_resamples)
    rng = np.random.default_rng(seed)
    rows = [
        statistic(np.concatenate(list(_resample_indices(rng, num_samples))))
        for _ in range(num_resamples)
    ]
    for row in rows:
        if row.keys() != rows[0].keys():
            raise DataError(f"metrics: got {list(row)} once, expected {list(rows[0])}")
    return {key: np.array([row[key] for row in rows], np.float64) for key in rows[0]}


def bootstrap_means(
    values: Float[np.ndarray, "metric sample"], *, num_resamples: int = 1000, seed: int = 0
) -> Float[np.ndarray, "metric replicate"]:
    """Bootstrap metrics that are means of one number a sample, faster than `bootstrap`.

    The resamples are those of `bootstrap`. Rows may be metrics of one model or of several.

    Args:
        values: The numbers to average, such as 1 for right and 0 for wrong.
        num_resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        The means over each resample: float64 [metric, replicate].

    Raises:
        ConfigError: `num_resamples` is not positive.
        DataError: There are no samples, or a value is nan or infinite.

    Example:
        >>> right = np.array([1.0, 1.0, 0.0, 1.0])
        >>> fast = bootstrap_means(right[None], num_resamples=100)
        >>> slow = bootstrap(lambda drawn: {"acc1": right[drawn].mean()}, 4, num_resamples=100)
        >>> np.allclose(fast[0], slow["acc1"])
        True
    """
    metrics, samples = values.shape
    _check_sizes(samples, num_resamples)
    if not np.isfinite(values).all():
        raise DataError("values: got nan or infinity, expected finite numbers")
    exact = values.astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty((metrics, num_resamples))
    # A byte is enough: one sample is drawn more than 255 times less than once in 256! resamples.
    count = np.empty(samples, np.uint8)
    once = np.uint8(1)  # of the counts' type: of another, numpy takes fifty times as long
    for number in range(num_resamples):
        count[:] = 0
        for drawn in _resample_indices(rng, samples):
            np.add.at(count, drawn, once)
        means[:, number] = exact @ count
    return means / samples


def percentile_interval(replicates: Float[np.ndarray, " replicate"]) -> tuple[float, float]:
    """The 95% interval of a metric from its replicates: their middle 95%.

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


def confidence_intervals(
    replicates: Mapping[str, NDArray[np.float64]], metrics: Mapping[str, float], num_samples: int
) -> dict[str, tuple[float, float]]:
    """The 95% interval of each metric from its replicates.

    A fraction that is exactly 0 or 1 is the same in all resamples: it gets Wilson's interval. The
    calibration error `ece` of a resample is larger than that of the data set, on average: its
    interval is moved down by the difference.

    Args:
        replicates: From `bootstrap`; those that are nan are left out.
        metrics: The metrics of the data set.
        num_samples: Number of samples of the data set.
    """
    intervals: dict[str, tuple[float, float]] = {}
    for key, drawn in replicates.items():
        value, finite = metrics[key], drawn[np.isfinite(drawn)]
        if not len(finite):
            continue
        is_rank = key.endswith("median_rank")  # 1 is not its maximum
        if value in (0.0, 1.0) and np.all(finite == value) and not is_rank:
            intervals[key] = wilson_interval(value, num_samples)
            continue
        bias = float(finite.mean()) - value if key == "ece" else 0.0
        low, high = percentile_interval(finite - bias)
        intervals[key] = (max(0.0, low), high) if key == "ece" else (low, high)
    return intervals


def paired_difference(
    first: Float[np.ndarray, " replicate"], second: Float[np.ndarray, " replicate"]
) -> PairedDifference:
    """Compare two models by replicates of one metric on the same resamples.

    The test is two-sided: twice the share of resamples in which the difference is zero or of the
    other sign, the measured data set counted as one of them (Davison & Hinkley 1997).
    So it is at least 2 / (replicates + 1).

    Args:
        first: Replicates from `bootstrap` or `bootstrap_means`.
        second: Replicates of the other model, of the same samples and seed.

    Raises:
        DataError: There are no replicates, or one is nan.
        ShapeError: There are not as many of each.

    Example:
        >>> paired_difference(np.full(999, 0.75), np.full(999, 0.5))
        PairedDifference(low=0.25, high=0.25, p_value=0.002)
    """
    require_shape("second", second.shape, first.shape)
    difference = first - second
    low, high = percentile_interval(difference)
    opposed = min(int((difference <= 0).sum()), int((difference >= 0).sum()))
    p_value = min(1.0, 2 * (opposed + 1) / (len(difference) + 1))
    return PairedDifference(low=low, high=high, p_value=p_value)


def sign_test(gained: int, lost: int) -> float:
    """McNemar's exact test: the p-value of two models on the same samples, in [0, 1].

    Samples that both models get right or both wrong do not count; the others are right of either
    model with probability 1/2. About 8 digits are exact for a million samples, more for fewer.

    Args:
        gained: Samples that only one of the models gets right.
        lost: Samples that only the other gets right.

    Example:
        >>> round(sign_test(9, 1), 6)
        0.021484
    """
    fewer, trials = min(gained, lost), gained + lost
    # The i-th term from `fewer` down is at most exp(-i^2 / (2 fewer)) of the first one: what comes
    # after ten roots adds nothing.
    last = max(0, fewer - 10 * math.isqrt(fewer) - 10)
    count = np.arange(fewer, last, -1, dtype=np.float64)
    ratios = count / (trials - count + 1)
    log_ways = math.lgamma(trials + 1) - math.lgamma(fewer + 1) - math.lgamma(trials - fewer + 1)
    first = math.exp(log_ways + fewer * math.log(0.5) + (trials - fewer) * math.log(0.5))
    return min(1.0, 2 * first * (1 + float(np.cumprod(ratios).sum())))


def wilson_interval(proportion: float, num_samples: int) -> tuple[float, float]:
    """The 95% interval of a fraction measured on independent samples (Wilson 1927).

    Unlike the normal approximation it stays in [0, 1] and holds for fractions near the ends and for
    few samples.

    Example:
        >>> low, high = wilson_interval(0.5, 100)
        >>> round(low, 4), round(high, 4)
        (0.4038, 0.5962)
    """
    if num_samples == 0:
        return 0.0, 1.0
    weight = Z_95**2 / num_samples
    centre = (proportion + weight / 2) / (1 + weight)
    spread = proportion * (1 - proportion) / num_samples + weight / (4 * num_samples)
    half = Z_95 * math.sqrt(spread) / (1 + weight)
    # Rounding must not push an end past the fraction itself.
    return min(proportion, max(0.0, centre - half)), max(proportion, min(1.0, centre + half))


def _resample_indices(rng: np.random.Generator, num_samples: int) -> Iterator[NDArray[np.int64]]:
    """The indices of one resample, a chunk at a time."""
    for start in range(0, num_samples, _INDEX_CHUNK):
        yield rng.integers(num_samples, size=min(_INDEX_CHUNK, num_samples - start))


def _check_sizes(num_samples: int, num_resamples: int) -> None:
    require(num_resamples >= 1, "times", num_resamples, "at least 1")
    require(num_samples >= 1, "samples", num_samples, "at least 1", DataError)
