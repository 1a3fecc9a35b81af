"""Names of metrics and tasks, and their values with units, where people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from twinlens.html import format_percent, metric_name

__all__ = [
    "format_difference",
    "format_metric",
    "is_fraction",
    "lower_is_better",
    "main_metric",
    "metric_name",
    "task_name",
]

_TASK_NAMES = {
    "zeroshot_classification": "zero-shot classification",
    "zeroshot_retrieval": "zero-shot retrieval",
    "classifier": "classification",
    "scores": "fit of captions",
}
_SCORE_METRICS = {"clip_score", "ref_clip_score"}
_POINT_METRICS = {"effective_robustness"}
_MAIN_METRICS = (
    "corrupted_acc1",
    "acc1",
    "image_retrieval_recall@1",
    "mean_average_precision",
    "clip_score",
)


def task_name(task: str) -> str:
    """The name of a task for people.

    Example:
        >>> task_name("zeroshot_retrieval"), task_name("linear_probe")
        ('zero-shot retrieval', 'linear probe')
    """
    return _TASK_NAMES.get(task, task.replace("_", " "))


def main_metric(metrics: Mapping[str, float]) -> str:
    """The metric that represents a result; the first where none is known to."""
    return next((metric for metric in _MAIN_METRICS if metric in metrics), next(iter(metrics)))


def is_fraction(metric: str) -> bool:
    """True if the metric lies in [0, 1], so that a bar can show it."""
    kind = metric.partition("@")[0]
    return kind not in _SCORE_METRICS | _POINT_METRICS and not kind.endswith("median_rank")


def lower_is_better(metric: str) -> bool:
    """True if the metric is an error or a rank.

    Example:
        >>> lower_is_better("ece"), lower_is_better("acc1")
        (True, False)
    """
    return metric == "ece" or metric.endswith("median_rank")


def format_metric(metric: str, value: float) -> str:
    """Write a value with its unit.

    Example:
        >>> format_metric("acc1", 0.5512), format_metric("clip_score", 0.7123)
        ('55.1%', '0.712')
        >>> format_metric("median_rank", 3.0)
        '3'
    """
    if math.isnan(value):
        return "none"
    if is_fraction(metric):
        return format_percent(value)
    return (
        format_difference(metric, value)
        if _is_percentage_points(metric)
        else _format_plain(metric, value)
    )


def format_difference(metric: str, value: float) -> str:
    """Write a difference of two values with its sign and unit.

    Example:
        >>> format_difference("acc1", 0.0212), format_difference("clip_score", -0.0213)
        ('+2.1 points', '-0.021')
    """
    sign = "-" if value < 0 else "+"
    if is_fraction(metric) or _is_percentage_points(metric):
        points = f"{100 * abs(value):.1f}" if abs(value) >= 0.01 else f"{100 * abs(value):.2f}"
        return f"{sign}{points} points"
    return f"{sign}{_format_plain(metric, abs(value))}"


def _is_percentage_points(metric: str) -> bool:
    return metric.partition("@")[0] in _POINT_METRICS


def _format_plain(metric: str, value: float) -> str:
    return f"{value:.3f}" if metric in _SCORE_METRICS else f"{value:,.6g}"
