"""A model's own classifier on a data set: the one that it was fine-tuned to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from twinlens.errors import DataError
from twinlens.eval.prompts import called_alike
from twinlens.eval.tasks.classification import Choice, Classification, measure_choice

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.distributed.world import World
    from twinlens.embed.embedder import Embedder

_LISTED = 5


def measure(lens: Embedder, dataset: Dataset, *, world: World | None = None) -> Classification:
    """Classify every labelled image among the classes of the model's own classifier.

    Classes are the same where their names are. Those of the classifier that have no images are
    there to choose from all the same.

    Args:
        lens: A model with a classifier.
        dataset: Labelled images; those without a label are left out.
        world: The processes that measure together, each its share; this one alone if not given.

    Raises:
        ConfigError: The model has no classifier.
        DataError: There are no labels, the data set has a class that the classifier has not, or
            more than 1% of the images cannot be decoded.
    """
    return measure_choice(lens, dataset, choice_of_head(lens, dataset), world=world)


def choice_of_head(lens: Embedder, dataset: Dataset) -> Choice:
    """The classes of the model's own classifier as a choice; see `measure` for the errors."""
    head = lens.head
    check_classes(dataset, head.classnames)
    return Choice(
        task="classifier",
        names={name: name for name in head.classnames},
        weight=head.weight.numpy(),
        shared_names=called_alike(
            {name: dataset.spoken.get(name, name) for name in head.classnames}
        ),
    )


def check_classes(dataset: Dataset, classnames: Sequence[str]) -> None:
    """Make sure that a classifier of these classes can be measured on a data set.

    Raises:
        DataError: There are no labels, or the data set has a class that the classifier has not.
    """
    if not dataset.classnames:
        raise DataError(f"{dataset.name}: got no labels, expected images with a class each")
    known = set(classnames)
    unknown = [name for name in dataset.classnames if name not in known]
    if unknown:
        first = ", ".join(map(repr, islice(unknown, _LISTED)))
        others = f" and {len(unknown) - _LISTED:,} others" if len(unknown) > _LISTED else ""
        raise DataError(
            f"{dataset.name}: got {first}{others}, "
            f"expected some of the {len(known):,} classes that the classifier has"
        )
