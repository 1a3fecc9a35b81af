"""The 27 data sets that the paper measures on: sizes, measures, class names and templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from twinlens.errors import DataError, UnknownNameError
from twinlens.eval.prompts import imagenet_classnames, imagenet_templates

Metric = Literal["accuracy", "mean per class", "11-point mAP", "ROC AUC", "mean of top-1 and top-5"]
"""What the paper measures a data set by."""

Split = Literal["test", "val", "dev", "drawn"]
"""What the paper tests on; "drawn" where the data set has no test images of its own."""

_KEYS: dict[Metric, str] = {
    "accuracy": "acc1",
    "mean per class": "mean_per_class_recall",
    "11-point mAP": "mean_average_precision",
    "ROC AUC": "roc_auc",
    "mean of top-1 and top-5": "mean_acc1_acc5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSet:
    """A data set of the paper's 27 (appendix A, table 9).

    Attributes:
        name: CLIP_benchmark's name where it has one, without `vtab/`.
        title: As the paper prints it.
        classes: How many there are to choose from.
        train: Images that the paper learns linear probes from, validation included.
        test: Images that it tests on.
        metric: What it measures by.
        split: What it tests on.
        source: Who published it, and when.
        templates: OpenAI's sentences with `{}`.
        names: What OpenAI calls each class, the usual name first; none if they are not shipped.
            Their order is OpenAI's, which is not every copy's order of labels: go by names.
    """

    name: str
    title: str
    classes: int
    train: int
    test: int
    metric: Metric
    split: Split
    source: str
    templates: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def classnames(self) -> tuple[str, ...]:
        """The usual name of each class.

        Raises:
            DataError: They are not shipped.
        """
        if not self.names:
            raise DataError(
                f"{self.name}: got no class names, expected {self.classes}: "
                f"they are not shipped, take the labels of the data set"
            )
        return tuple(first for first, *_ in self.names)


@cache
def paper_sets() -> dict[str, PaperSet]:
    """All 27 by name, in the paper's order.

    Example:
        >>> len(paper_sets())
        27
    """
    text = files("twinlens").joinpath("assets", "benchmarks", "paper.json").read_text("utf-8")
    return {row["name"]: _paper_set(row) for row in json.loads(text)}


def paper_set(name: str) -> PaperSet:
    """One of the 27; CLIP_benchmark's prefixes `wds/` and `vtab/` are passed over.

    Raises:
        UnknownNameError: It is none of them.

    Example:
        >>> paper_set("vtab/pets").templates
        ('a photo of a {}, a type of pet.',)
    """
    known = paper_sets()
    found = known.get(name.removeprefix("wds/").removeprefix("vtab/"))
    if found is None:
        raise UnknownNameError("data set of the paper", name, known)
    return found


def wanted_metric(name: str) -> str:
    """The key of the metric that the paper measures a data set by.

    For `mean_average_precision` it interpolates at 11 points, as VOC 2007 did;
    `mean_acc1_acc5` is the mean of `acc1` and `acc5`.

    Raises:
        UnknownNameError: The data set is none of the paper's.

    Example:
        >>> wanted_metric("pets"), wanted_metric("cifar10")
        ('mean_per_class_recall', 'acc1')
    """
    return _KEYS[paper_set(name).metric]


def _paper_set(row: dict[str, Any]) -> PaperSet:
    templates, names = row.pop("templates", ()), row.pop("classnames", ())
    if row["name"] == "imagenet1k":
        templates, names = imagenet_templates(), imagenet_classnames()
    return PaperSet(
        **row,
        templates=tuple(templates),
        names=tuple((one,) if isinstance(one, str) else tuple(one) for one in names),
    )
