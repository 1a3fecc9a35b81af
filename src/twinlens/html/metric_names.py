"""Names of metrics for people."""

from __future__ import annotations

_METRIC_NAMES = {
    "acc1": "Top-1 accuracy",
    "acc5": "Top-5 accuracy",
    "ece": "Expected calibration error",
    "roc_auc": "Area under the ROC curve",
    "mean_average_precision_11pt": "Mean average precision, 11-point",
    "image_retrieval_recall": "Image for a text, recall",
    "text_retrieval_recall": "Text for an image, recall",
    "image_retrieval_median_rank": "Image for a text, median rank",
    "text_retrieval_median_rank": "Text for an image, median rank",
    "image_retrieval_mean_reciprocal_rank": "Image for a text, mean reciprocal rank",
    "text_retrieval_mean_reciprocal_rank": "Text for an image, mean reciprocal rank",
    "corrupted_acc1": "Top-1 accuracy, corrupted",
    "standard_acc1": "Top-1 accuracy, standard set with the classes",
    "retained": "Share of the accuracy retained",
    "clip_score": "CLIPScore",
    "ref_clip_score": "RefCLIPScore",
}


def metric_name(metric: str) -> str:
    """A metric's name in words.

    Example:
        >>> metric_name("text_retrieval_recall@5"), metric_name("acc1@sketches")
        ('Text for an image, recall@5', 'Top-1 accuracy on sketches')
        >>> metric_name("acc1@4-shot"), metric_name("mean_per_class_recall")
        ('Top-1 accuracy, 4-shot', 'Mean per class recall')
    """
    kind, _, of = metric.partition("@")
    name = _METRIC_NAMES.get(kind, kind.replace("_", " ").capitalize())
    if not of:
        return name
    if kind.endswith("recall"):
        return f"{name}@{of}"
    if kind == "standard_acc1":
        return f"{name} of {of}"
    return f"{name}, {of}" if of.endswith("-shot") else f"{name} on {of}"
