"""How metrics and tasks are called and written where people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from twinlens.pages import percent

_TASKS = {
    "zeroshot_classification": "zero-shot classification",
    "zeroshot_retrieval": "zero-shot retrieval",
    "classifier": "classification",
    "scores": "fit of captions",
}
_METRICS = {
    "acc1": "Top-1 accuracy",
    "acc5": "Top-5 accuracy",
    "ece": "Expected calibration error",
    "roc_auc": "Area under the ROC curve",
    "mean_average_precision_11pt": "Mean average precision, 11-point",
    "image_retrieval_recall": "Picture for a text, recall",
    "text_retrieval_recall": "Text for a picture, recall",
    "image_retrieval_median_rank": "Picture for a text, median rank",
    "text_retrieval_median_rank": "Text for a picture, median rank",
    "image_retrieval_mean_reciprocal_rank": "Picture for a text, mean reciprocal rank",
    "text_retrieval_mean_reciprocal_rank": "Text for a picture, mean reciprocal rank",
    "corrupted_acc1": "Top-1 accuracy, corrupted",
    "standard_acc1": "Top-1 accuracy, standard set with the classes",
    "retained": "Share of the accuracy retained",
    "clip_score": "CLIPScore",
    "ref_clip_score": "RefCLIPScore",
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


def metric_name(metric: str) -> str:
    """A metric's name in words.

    Example:
        >>> metric_name("text_retrieval_recall@5"), metric_name("acc1@sketches")
        ('Text for a picture, recall@5', 'Top-1 accuracy on sketches')
        >>> metric_name("acc1@4-shot"), metric_name("mean_per_class_recall")
        ('Top-1 accuracy, 4-shot', 'Mean per class recall')
    """
    kind, _, of = metric.partition("@")
    name = _METRICS.get(kind, kind.replace("_", " ").capitalize())
    if not of:
        return name
    if kind.endswith("recall"):
        return f"{name}@{of}"
    if kind == "standard_acc1":
        return f"{name} of {of}"
    return f"{name}, {of}" if of.endswith("-shot") else f"{name} on {of}"


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
