"""Images that may be several things at once: how well a model ranks them for every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32

from twinlens.embed.dataset import check_readable
from twinlens.errors import DataError
from twinlens.eval.metrics.classification import (
    average_precision,
    mean_average_precision,
    mean_roc_auc,
)
from twinlens.eval.metrics.statistics import bootstrap, intervals_of
from twinlens.eval.results.result import Evidence, Result, samples_digest
from twinlens.eval.tasks.zero_shot import choice_in_words

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.eval.context import Features


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPrecision:
    """One class: its average precision, and how many images have it."""

    classname: str
    average_precision: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiLabelResult(Result):
    """How well images are ranked for each class.

    The metrics are `mean_average_precision`, `mean_average_precision_11pt` (VOC 2007's, the one in
    the paper) and `roc_auc` (the mean over classes). Classes without images are left out.

    Attributes:
        templates: The sentences that class names were put in.
        per_class: Every class that has images, worst first.
        classes: How many there are.
        shared_names: The labels of those that are called alike, by the first one's name.
    """

    templates: tuple[str, ...]
    per_class: list[ClassPrecision]
    classes: int
    shared_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def details(self) -> dict[str, Any]:
        """Prompts and classes."""
        return {
            "templates": list(self.templates),
            "classes": self.classes,
            "shared_names": {key: list(one) for key, one in self.shared_names.items()},
            "empty_classes": self.classes - len(self.per_class),
            "per_class": [
                {
                    "classname": one.classname,
                    "average_precision": one.average_precision,
                    "samples": one.samples,
                }
                for one in self.per_class
            ],
        }


def measure(
    features: Features, dataset: Dataset, *, templates: Sequence[str] = ()
) -> MultiLabelResult:
    """Rank all images for each class by their similarity to its name.

    Args:
        features: Of the model.
        dataset: Images with `labels`; one without any is a negative of all classes.
        templates: Prompts with `{}`; none means the data set's own, else the model's.

    Raises:
        DataError: No class has images, or more than 1% of the images cannot be decoded.
    """
    choice = choice_in_words(features, dataset, templates=templates)
    read = features.images(dataset)
    check_readable(dataset.name, len(read.samples), {})
    names = list(choice.names)
    has = np.array([[name in sample.labels for name in names] for sample in read.samples])
    there = has.any(axis=0)
    if not there.any():
        raise DataError(f"{dataset.name}: got no image with a label, expected at least one")
    scores = choice.scores(read.embeddings)
    metrics = _metrics(scores, has)
    drawn = bootstrap(lambda rows: _metrics(scores[rows], has[rows]), len(scores))
    per_class = [
        ClassPrecision(
            classname=choice.shown[number],
            average_precision=average_precision(scores[:, number], has[:, number]),
            samples=int(has[:, number].sum()),
        )
        for number in np.flatnonzero(there).tolist()
    ]
    return MultiLabelResult(
        task="zeroshot_classification",
        dataset=dataset.name,
        metrics=metrics,
        intervals=intervals_of(drawn, metrics, len(scores)),
        chance={"mean_average_precision": float(has[:, there].mean()), "roc_auc": 0.5},
        samples=len(scores),
        unreadable=read.unreadable,
        templates=choice.templates,
        per_class=sorted(per_class, key=lambda one: (one.average_precision, one.classname)),
        classes=len(names),
        shared_names=choice.shared_names,
        evidence=Evidence(
            samples=samples_digest((one.key, one.labels) for one in read.samples),
            replicates={key: values.astype(np.float32) for key, values in drawn.items()},
        ),
    )


def _metrics(
    scores: Float32[np.ndarray, "sample class"], has: Bool[np.ndarray, "sample class"]
) -> dict[str, float]:
    return {
        "mean_average_precision": mean_average_precision(scores, has)[0],
        "mean_average_precision_11pt": mean_average_precision(
            scores, has, interpolation="eleven-point"
        )[0],
        "roc_auc": mean_roc_auc(scores, has)[0],
    }
