"""Two models on the same samples: by how much one is better, and whether that may be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from twinlens.eval.metrics.statistics import Difference, paired_difference, sign_test
from twinlens.eval.results.metric_names import lower_is_better

if TYPE_CHECKING:
    from twinlens.eval.results.files import StoredResults
    from twinlens.eval.results.result import Evidence, Interval, Result

LEVEL = 0.05
"""What is likelier than this among equally good models is no proof that one is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a model reaches, and the 95% interval."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric of two models.

    Attributes:
        dataset: What it was measured on.
        task: As in `Result`.
        metric: Its key.
        first: The first model's; None where only the second was measured.
        second: The second model's, likewise.
        difference: The second's less the first's, on the same resamples of the same samples.
        sign_test: McNemar's exact p-value, of metrics that are fractions of samples; not of
            several answers a sample, such as its captions', which do not stand alone.
        adjusted: The p-value after Holm's correction for how many metrics were compared.
        problem: Why there is no difference; empty where there is one.
    """

    dataset: str
    task: str
    metric: str
    first: Figure | None
    second: Figure | None
    difference: Difference | None = None
    sign_test: float | None = None
    adjusted: float | None = None
    problem: str = ""

    @property
    def p_value(self) -> float | None:
        """How likely equally good models differ so much: exact where it can be."""
        if self.sign_test is not None or self.difference is None:
            return self.sign_test
        return self.difference.p_value

    @property
    def change(self) -> float | None:
        """The second's value less the first's."""
        if self.first is None or self.second is None:
            return None
        return self.second.value - self.first.value

    @property
    def winner(self) -> Literal["first", "second"] | None:
        """Which model is better, if that is hardly chance after the correction."""
        if self.adjusted is None or self.adjusted > LEVEL or not self.change:
            return None
        return "second" if (self.change > 0) != lower_is_better(self.metric) else "first"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        difference = self.difference
        return {
            "dataset": self.dataset,
            "task": self.task,
            "metric": self.metric,
            "first": self.first and self.first.value,
            "second": self.second and self.second.value,
            "difference": self.change,
            "interval": difference and [difference.low, difference.high],
            "p_value": difference and difference.p_value,
            "sign_test_p_value": self.sign_test,
            "adjusted_p_value": self.adjusted,
            "winner": self.winner,
            "problem": self.problem,
        }


def compare(first: StoredResults, second: StoredResults) -> list[Comparison]:
    """Compare all metrics of two models; those that only one of them has are listed too.

    Differences are the second's value less the first's. Their intervals and p-values are of the
    same resamples for both; fractions of samples have McNemar's exact test besides, which then is
    what counts. All p-values are corrected together (Holm 1979).
    """
    theirs = {(one.dataset, one.task): one for one in second.results}
    ours = {(one.dataset, one.task): one for one in first.results}
    found: list[Comparison] = []
    for of in dict.fromkeys([*ours, *theirs]):
        found += _compared(of, ours.get(of), theirs.get(of))
    tested = [number for number, one in enumerate(found) if one.p_value is not None]
    adjusted = holm([p for one in found if (p := one.p_value) is not None])
    for number, p_value in zip(tested, adjusted, strict=True):
        found[number] = replace(found[number], adjusted=p_value)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, so that below 5% hardly any is by chance (Holm 1979).

    The chance that even one of equally good pairs is called different is at most the level.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.array(p_values)[order] * factors))
    return adjusted.tolist()


def _compared(of: tuple[str, str], first: Result | None, second: Result | None) -> list[Comparison]:
    metrics = [*(first.metrics if first else ()), *(second.metrics if second else ())]
    return [_one(of, metric, first, second) for metric in dict.fromkeys(metrics)]


def _one(
    of: tuple[str, str], metric: str, first: Result | None, second: Result | None
) -> Comparison:
    """One metric, which at least one of them has."""
    dataset, task = of
    plain = Comparison(
        dataset=dataset,
        task=task,
        metric=metric,
        first=_figure(first, metric),
        second=_figure(second, metric),
    )
    if first is None or plain.first is None:
        return replace(plain, problem="only the second was measured")
    if second is None or plain.second is None:
        return replace(plain, problem="only the first was measured")
    if problem := _unpaired(first.evidence, second.evidence, metric):
        return replace(plain, problem=f"cannot be paired: {problem}")
    return _paired(plain, first, second)


def _figure(result: Result | None, metric: str) -> Figure | None:
    if result is None or math.isnan(result.metrics.get(metric, math.nan)):
        return None
    return Figure(value=result.metrics[metric], interval=result.intervals.get(metric))


def _unpaired(first: Evidence, second: Evidence, metric: str) -> str:
    """Why two models' answers are not those of the same samples and resamples, or nothing."""
    if not first.samples or not second.samples:
        return "no evidence was kept"
    if first.samples != second.samples:
        return "other samples"
    ours, theirs = first.replicates.get(metric), second.replicates.get(metric)
    if ours is None or theirs is None:
        return "no resamples were kept"
    if len(ours) != len(theirs):
        return f"{len(ours):,} and {len(theirs):,} resamples"
    return "" if np.isfinite(ours - theirs).any() else "no resample has a value"


def _paired(plain: Comparison, first: Result, second: Result) -> Comparison:
    metric = plain.metric
    ours, theirs = first.evidence.replicates[metric], second.evidence.replicates[metric]
    both = np.isfinite(ours) & np.isfinite(theirs)  # a resample may lack a class, for both
    return replace(
        plain,
        difference=paired_difference(theirs[both], ours[both]),
        sign_test=_sign_test(first, second, metric),
    )


def _sign_test(first: Result, second: Result, metric: str) -> float | None:
    if metric not in first.evidence.right or metric not in second.evidence.right:
        return None
    ours, theirs = first.evidence.right[metric], second.evidence.right[metric]
    if len(ours) > first.samples:
        return None
    return sign_test(int((theirs & ~ours).sum()), int((ours & ~theirs).sum()))
