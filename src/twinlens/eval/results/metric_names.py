"""How metrics and tasks are called and written where people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from twinlens.html import metric_name, percent

__all__ = [
    "difference_written",
    "is_share",
    "lower_is_better",
    "main_metric",
    "metric_name",
    "task_name",
    "written",
]

_TASKS = {
    "zeroshot_classification": "zero-shot classification",
    "zeroshot_retrieval": "zero-shot retrieval",
    "classifier": "classification",
    "scores": "fit of captions",
}
_SCORES = {"clip_score", "ref_clip_score"}
_POINTS = {"effective_robustness"}
_MAIN = (
    "corrupted_acc1",
    "acc1",
    "image_retrieval_recall@1",
    "mean_average_precision",
    "clip_score",
)


def task_name(task: str) -> str:
    """A task's name in words.

    Example:
        >>> task_name("zeroshot_retrieval"), task_name("linear_probe")
        ('zero-shot retrieval', 'linear probe')
    """
    return _TASKS.get(task, task.replace("_", " "))


def main_metric(metrics: Mapping[str, float]) -> str:
    """The one that stands for all: the first where none is known to."""
    return next((metric for metric in _MAIN if metric in metrics), next(iter(metrics)))


def is_share(metric: str) -> bool:
    """Whether it lies in [0, 1], so that a bar can show it."""
    kind = metric.partition("@")[0]
    return kind not in _SCORES | _POINTS and not kind.endswith("median_rank")


def lower_is_better(metric: str) -> bool:
    """Whether it is an error or a rank.

    Example:
        >>> lower_is_better("ece"), lower_is_better("acc1")
        (True, False)
    """
    return metric == "ece" or metric.endswith("median_rank")


def written(metric: str, value: float) -> str:
    """A value with its unit.

    Example:
        >>> written("acc1", 0.5512), written("clip_score", 0.7123), written("median_rank", 3.0)
        ('55.1%', '0.712', '3')
    """
    if math.isnan(value):
        return "none"
    if is_share(metric):
        return percent(value)
    return difference_written(metric, value) if _is_points(metric) else _bare(metric, value)


def difference_written(metric: str, value: float) -> str:
    """A difference of two values, with its sign and unit.

    Example:
        >>> difference_written("acc1", 0.0212), difference_written("clip_score", -0.0213)
        ('+2.1 points', '-0.021')
    """
    sign = "-" if value < 0 else "+"
    if is_share(metric) or _is_points(metric):
        points = f"{100 * abs(value):.1f}" if abs(value) >= 0.01 else f"{100 * abs(value):.2f}"
        return f"{sign}{points} points"
    return f"{sign}{_bare(metric, abs(value))}"


def _is_points(metric: str) -> bool:
    return metric.partition("@")[0] in _POINTS


def _bare(metric: str, value: float) -> str:
    return f"{value:.3f}" if metric in _SCORES else f"{value:,.6g}"
