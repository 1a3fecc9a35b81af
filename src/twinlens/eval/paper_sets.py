"""The 27 data sets of the paper: sizes, metrics, class names and templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from twinlens.errors import DataError, UnknownNameError
from twinlens.eval.prompts import imagenet_classnames, imagenet_templates

PaperMetric = Literal[
    "accuracy", "mean per class", "11-point mAP", "ROC AUC", "mean of top-1 and top-5"
]
"""Metrics of the paper."""

PaperSplit = Literal["test", "val", "dev", "drawn"]
"""The split that the paper tests on; "drawn" where the data set has no test images of its own."""

_METRIC_KEYS: dict[PaperMetric, str] = {
    "accuracy": "acc1",
    "mean per class": "mean_per_class_recall",
    "11-point mAP": "mean_average_precision",
    "ROC AUC": "roc_auc",
    "mean of top-1 and top-5": "mean_acc1_acc5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperDataset:
    """A data set of the paper's 27 (appendix A, table 9).

    Attributes:
        name: CLIP_benchmark's name where it has one, without `vtab/`.
        title: The name in the paper.
        classes: Number of classes.
        train: Number of images that the paper learns linear probes from, validation included.
        test: Number of images that it tests on.
        metric: The paper's metric.
        split: The split that it tests on.
        source: The publication, with its year.
        templates: OpenAI's prompt templates.
        class_synonyms: OpenAI's names of each class, the usual one first; none if they are not
            included. Copies of a data set may order their labels otherwise: go by names.
    """

    name: str
    title: str
    classes: int
    train: int
    test: int
    metric: PaperMetric
    split: PaperSplit
    source: str
    templates: tuple[str, ...]
    class_synonyms: tuple[tuple[str, ...], ...]

    @property
    def classnames(self) -> tuple[str, ...]:
        """The usual name of each class.

        Raises:
            DataError: They are not included.
        """
        if not self.class_synonyms:
            raise DataError(
                f"{self.name}: got no class names, expected {self.classes}: "
                f"they are not shipped, take the labels of the data set"
            )
        return tuple(first for first, *_ in self.class_synonyms)


@cache
def paper_datasets() -> dict[str, PaperDataset]:
    """All 27 data sets by name, in the paper's order.

    Example:
        >>> len(paper_datasets())
        27
    """
    text = files("twinlens").joinpath("assets", "benchmarks", "paper.json").read_text("utf-8")
    return {row["name"]: _parse_row(row) for row in json.loads(text)}


def find_paper_dataset(name: str) -> PaperDataset:
    """Find one of the 27 data sets; CLIP_benchmark's prefixes `wds/` and `vtab/` are ignored.

    Raises:
        UnknownNameError: It is none of them.

    Example:
        >>> find_paper_dataset("vtab/pets").templates
        ('a photo of a {}, a type of pet.',)
    """
    known = paper_datasets()
    dataset = known.get(name.removeprefix("wds/").removeprefix("vtab/"))
    if dataset is None:
        raise UnknownNameError("data set of the paper", name, known)
    return dataset


def paper_metric_key(name: str) -> str:
    """The key of the paper's metric of a data set.

    For `mean_average_precision` it interpolates at 11 points, as VOC 2007 did;
    `mean_acc1_acc5` is the mean of `acc1` and `acc5`.

    Raises:
        UnknownNameError: The data set is none of the paper's.

    Example:
        >>> paper_metric_key("pets"), paper_metric_key("cifar10")
        ('mean_per_class_recall', 'acc1')
    """
    return _METRIC_KEYS[find_paper_dataset(name).metric]


def _parse_row(row: dict[str, Any]) -> PaperDataset:
    templates, names = row.pop("templates", ()), row.pop("classnames", ())
    if row["name"] == "imagenet1k":
        templates, names = imagenet_templates(), imagenet_classnames()
    return PaperDataset(
        **row,
        templates=tuple(templates),
        class_synonyms=tuple((one,) if isinstance(one, str) else tuple(one) for one in names),
    )
