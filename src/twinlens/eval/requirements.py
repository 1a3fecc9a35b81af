"""Requirements that tasks have of a data set, checked before and while it is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twinlens.errors import DataError

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset, Sample


def require_labels(dataset: Dataset) -> None:
    """Make sure that a data set has classes.

    Raises:
        DataError: It has none.
    """
    if not dataset.classnames:
        raise DataError(f"{dataset.name}: got no labels, expected images with a class each")


def require_single_label(dataset: Dataset) -> None:
    """Make sure that no image of a data set has several labels.

    Raises:
        DataError: Images have several labels.
    """
    if dataset.multi_label:
        raise DataError(f"{dataset.name}: got images with several labels, expected one each")


def require_captions(dataset_name: str, samples: Iterable[Sample]) -> None:
    """Make sure that an image has a caption.

    Raises:
        DataError: None has.
    """
    if not any(sample.captions for sample in samples):
        raise DataError(f"{dataset_name}: got no captions, expected images with one each")
