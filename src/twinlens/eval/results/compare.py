"""Comparison of two models on the same samples: paired differences and their p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from twinlens.eval.metrics.statistics import PairedDifference, paired_difference, sign_test
from twinlens.eval.results.metric_names import lower_is_better

if TYPE_CHECKING:
    from twinlens.eval.results.files import StoredResults
    from twinlens.eval.results.result import Evidence, Interval, TaskResult

SIGNIFICANCE_LEVEL = 0.05
"""Largest p-value at which one model is called better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """The value of a model's metric, and its 95% interval."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """One metric of two models.

    Attributes:
        dataset: The data set.
        task: As in `TaskResult`.
        metric: Key of the metric.
        first: The first model's value; None where only the second was measured.
        second: The second model's value, likewise.
        difference: The second's minus the first's, on the same resamples of the same samples.
        sign_test_p_value: McNemar's exact p-value, of metrics that are fractions of samples; not
            where a sample has several queries, such as its captions, which are not independent.
        adjusted_p_value: The p-value after Holm's correction for the number of metrics compared.
        problem: The reason why there is no difference; empty where there is one.
    """

    dataset: str
    task: str
    metric: str
    first: MetricValue | None
    second: MetricValue | None
    difference: PairedDifference | None = None
    sign_test_p_value: float | None = None
    adjusted_p_value: float | None = None
    problem: str = ""

    @property
    def p_value(self) -> float | None:
        """Probability that equally good models differ so much: exact where it can be."""
        if self.sign_test_p_value is not None or self.difference is None:
            return self.sign_test_p_value
        return self.difference.p_value

    @property
    def delta(self) -> float | None:
        """The second's value minus the first's."""
        if self.first is None or self.second is None:
            return None
        return self.second.value - self.first.value

    @property
    def winner(self) -> Literal["first", "second"] | None:
        """The better model, if the difference is significant after the correction."""
        if (
            self.adjusted_p_value is None
            or self.adjusted_p_value > SIGNIFICANCE_LEVEL
            or not self.delta
        ):
            return None
        return "second" if (self.delta > 0) != lower_is_better(self.metric) else "first"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        difference = self.difference
        return {
            "dataset": self.dataset,
            "task": self.task,
            "metric": self.metric,
            "first": self.first and self.first.value,
            "second": self.second and self.second.value,
            "difference": self.delta,
            "interval": difference and [difference.low, difference.high],
            "p_value": difference and difference.p_value,
            "sign_test_p_value": self.sign_test_p_value,
            "adjusted_p_value": self.adjusted_p_value,
            "winner": self.winner,
            "problem": self.problem,
        }


def compare_results(first: StoredResults, second: StoredResults) -> list[MetricComparison]:
    """Compare all metrics of two models; those that only one of them has are listed too.

    Differences are the second's value minus the first's. Their intervals and p-values are of the
    same resamples for both; fractions of samples also have McNemar's exact test, which then
    decides. All p-values are corrected together (Holm 1979).
    """
    theirs = {(one.dataset, one.task): one for one in second.results}
    ours = {(one.dataset, one.task): one for one in first.results}
    compared: list[MetricComparison] = []
    for key in dict.fromkeys([*ours, *theirs]):
        compared += _compare_tasks(key, ours.get(key), theirs.get(key))
    tested = [number for number, one in enumerate(compared) if one.p_value is not None]
    adjusted = holm_correction([p for one in compared if (p := one.p_value) is not None])
    for number, p_value in zip(tested, adjusted, strict=True):
        compared[number] = replace(compared[number], adjusted_p_value=p_value)
    return compared


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests by Holm's step-down method (Holm 1979).

    The probability that even one of equally good pairs is called different is at most the level.

    Example:
        >>> [round(p, 3) for p in holm_correction([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.array(p_values)[order] * factors))
    return adjusted.tolist()


def _compare_tasks(
    dataset_and_task: tuple[str, str], first: TaskResult | None, second: TaskResult | None
) -> list[MetricComparison]:
    metrics = [*(first.metrics if first else ()), *(second.metrics if second else ())]
    return [
        _compare_metric(dataset_and_task, metric, first, second)
        for metric in dict.fromkeys(metrics)
    ]


def _compare_metric(
    dataset_and_task: tuple[str, str],
    metric: str,
    first: TaskResult | None,
    second: TaskResult | None,
) -> MetricComparison:
    """Compare one metric, which at least one of the results has."""
    dataset, task = dataset_and_task
    plain = MetricComparison(
        dataset=dataset,
        task=task,
        metric=metric,
        first=_metric_value(first, metric),
        second=_metric_value(second, metric),
    )
    if first is None or plain.first is None:
        return replace(plain, problem="only the second was measured")
    if second is None or plain.second is None:
        return replace(plain, problem="only the first was measured")
    if problem := _pairing_problem(first.evidence, second.evidence, metric):
        return replace(plain, problem=f"cannot be paired: {problem}")
    return _compare_paired(plain, first, second)


def _metric_value(result: TaskResult | None, metric: str) -> MetricValue | None:
    if result is None or math.isnan(result.metrics.get(metric, math.nan)):
        return None
    return MetricValue(value=result.metrics[metric], interval=result.intervals.get(metric))


def _pairing_problem(first: Evidence, second: Evidence, metric: str) -> str:
    """The reason why two results cannot be paired; empty where they can."""
    if not first.samples_digest or not second.samples_digest:
        return "no evidence was kept"
    if first.samples_digest != second.samples_digest:
        return "other samples"
    ours, theirs = first.replicates.get(metric), second.replicates.get(metric)
    if ours is None or theirs is None:
        return "no resamples were kept"
    if len(ours) != len(theirs):
        return f"{len(ours):,} and {len(theirs):,} resamples"
    return "" if np.isfinite(ours - theirs).any() else "no resample has a value"


def _compare_paired(
    comparison: MetricComparison, first: TaskResult, second: TaskResult
) -> MetricComparison:
    metric = comparison.metric
    ours, theirs = first.evidence.replicates[metric], second.evidence.replicates[metric]
    both = np.isfinite(ours) & np.isfinite(theirs)  # a resample may lack a class, for both
    return replace(
        comparison,
        difference=paired_difference(theirs[both], ours[both]),
        sign_test_p_value=_sign_test_p_value(first, second, metric),
    )


def _sign_test_p_value(first: TaskResult, second: TaskResult, metric: str) -> float | None:
    if metric not in first.evidence.correct or metric not in second.evidence.correct:
        return None
    ours, theirs = first.evidence.correct[metric], second.evidence.correct[metric]
    if len(ours) > first.num_samples:
        return None
    return sign_test(int((theirs & ~ours).sum()), int((ours & ~theirs).sum()))
