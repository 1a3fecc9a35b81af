"""Classification of images with several labels: how well they are ranked for every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32

from twinlens.embed.dataset import check_unreadable_fraction
from twinlens.errors import DataError
from twinlens.eval.metrics.classification import (
    average_precision,
    mean_average_precision,
    mean_roc_auc,
)
from twinlens.eval.metrics.statistics import bootstrap, confidence_intervals
from twinlens.eval.results.result import Evidence, TaskResult, digest_samples, shared_name_notes
from twinlens.eval.tasks.zero_shot import build_zero_shot_classifier

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.eval.context import EvalContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPrecision:
    """One class: its average precision, and the number of its images."""

    classname: str
    average_precision: float
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabelResult(TaskResult):
    """The metrics of a ranking of all images for each class.

    The metrics are `mean_average_precision`, `mean_average_precision_11pt` (VOC 2007's, the one in
    the paper) and `roc_auc` (the mean over classes). Classes without images are left out.

    Attributes:
        templates: The prompt templates.
        per_class: Every class that has images, worst first.
        num_classes: Number of classes.
        shared_names: The labels of classes with the same name, by the first one's name.
    """

    templates: tuple[str, ...]
    per_class: list[ClassPrecision]
    num_classes: int
    shared_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def details(self) -> dict[str, Any]:
        """Prompts and classes."""
        return {
            "templates": list(self.templates),
            "classes": self.num_classes,
            "shared_names": {key: list(one) for key, one in self.shared_names.items()},
            "empty_classes": self.num_classes - len(self.per_class),
            "per_class": [
                {
                    "classname": one.classname,
                    "average_precision": one.average_precision,
                    "samples": one.num_samples,
                }
                for one in self.per_class
            ],
        }

    def all_notes(self) -> list[str]:
        """The notes, and names that several classes have."""
        return [*self.notes, *shared_name_notes(self.shared_names)]


def evaluate_multi_label(
    context: EvalContext, dataset: Dataset, *, templates: Sequence[str] = ()
) -> MultiLabelResult:
    """Rank all images for each class by their similarity to its name.

    Args:
        context: The model's features.
        dataset: Images with `labels`; one without any is a negative of all classes.
        templates: Prompts with `{}`; none means the data set's own, else the model's.

    Raises:
        DataError: No class has images, or more than 1% of the images cannot be decoded.
    """
    classifier = build_zero_shot_classifier(context, dataset, templates=templates)
    embedded = context.embed_dataset(dataset)
    check_unreadable_fraction(dataset.name, len(embedded.samples), {})
    names = list(classifier.names)
    is_positive = np.array(
        [[name in sample.labels for name in names] for sample in embedded.samples]
    )
    present = is_positive.any(axis=0)
    if not present.any():
        raise DataError(f"{dataset.name}: got no image with a label, expected at least one")
    scores = classifier.scores(embedded.embeddings)
    metrics = _metrics(scores, is_positive)
    replicates = bootstrap(lambda rows: _metrics(scores[rows], is_positive[rows]), len(scores))
    per_class = [
        ClassPrecision(
            classname=classifier.display_names[number],
            average_precision=average_precision(scores[:, number], is_positive[:, number]),
            num_samples=int(is_positive[:, number].sum()),
        )
        for number in np.flatnonzero(present).tolist()
    ]
    return MultiLabelResult(
        task="zeroshot_classification",
        dataset=dataset.name,
        metrics=metrics,
        intervals=confidence_intervals(replicates, metrics, len(scores)),
        chance={"mean_average_precision": float(is_positive[:, present].mean()), "roc_auc": 0.5},
        num_samples=len(scores),
        unreadable=embedded.unreadable,
        templates=classifier.templates,
        per_class=sorted(per_class, key=lambda one: (one.average_precision, one.classname)),
        num_classes=len(names),
        shared_names=classifier.shared_names,
        evidence=Evidence(
            samples_digest=digest_samples((one.key, one.labels) for one in embedded.samples),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
        ),
    )


def _metrics(
    scores: Float32[np.ndarray, "sample class"], is_positive: Bool[np.ndarray, "sample class"]
) -> dict[str, float]:
    return {
        "mean_average_precision": mean_average_precision(scores, is_positive)[0],
        "mean_average_precision_11pt": mean_average_precision(
            scores, is_positive, interpolation="eleven-point"
        )[0],
        "roc_auc": mean_roc_auc(scores, is_positive)[0],
    }
