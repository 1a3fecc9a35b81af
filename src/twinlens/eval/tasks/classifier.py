"""Classification by the classifier that a model was fine-tuned to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from twinlens.errors import DataError
from twinlens.eval.prompts import find_shared_names
from twinlens.eval.requirements import require_labels
from twinlens.eval.tasks.classification import (
    ClassificationResult,
    LinearClassifier,
    evaluate_classifier,
)

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.embed.embedder import Embedder
    from twinlens.eval.context import EvalContext

_MAX_LISTED = 5


def evaluate_head(context: EvalContext, dataset: Dataset) -> ClassificationResult:
    """Classify every labelled image among the classes of the model's own classifier.

    Classes are the same where their names are. Classes of the classifier without images can be
    predicted too.

    Args:
        context: The features of a model with a classifier.
        dataset: Labelled images; those without a label are left out.

    Raises:
        ConfigError: The model has no classifier.
        DataError: There are no labels, the data set has a class that the classifier has not, or
            more than 1% of the images cannot be decoded.
    """
    return evaluate_classifier(context, dataset, head_classifier(context.embedder, dataset))


def head_classifier(embedder: Embedder, dataset: Dataset) -> LinearClassifier:
    """The model's own classifier, for a data set; see `evaluate_head` for the errors."""
    head = embedder.head
    check_known_classes(dataset, head.classnames)
    return LinearClassifier(
        task="classifier",
        names={name: name for name in head.classnames},
        weight=head.weight,
        shared_names=find_shared_names(
            {name: dataset.spoken.get(name, name) for name in head.classnames}
        ),
    )


def check_known_classes(dataset: Dataset, classnames: Sequence[str]) -> None:
    """Make sure that a data set's classes are among those of a classifier.

    Raises:
        DataError: There are no labels, or the data set has a class that the classifier has not.
    """
    require_labels(dataset)
    known = set(classnames)
    unknown = [name for name in dataset.classnames if name not in known]
    if unknown:
        first = ", ".join(map(repr, islice(unknown, _MAX_LISTED)))
        others = f" and {len(unknown) - _MAX_LISTED:,} others" if len(unknown) > _MAX_LISTED else ""
        raise DataError(
            f"{dataset.name}: got {first}{others}, "
            f"expected some of the {len(known):,} classes that the classifier has"
        )
