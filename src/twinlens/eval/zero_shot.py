"""Zero-shot classification of a data set (paper section 3.1): classes are told in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.distributed import World
from twinlens.eval.classification import Choice, Classification, measure_choice
from twinlens.eval.embedded import Readable
from twinlens.eval.prompts import choose_templates, names_of_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.datasets import Dataset
    from twinlens.embedder import Embedder


def measure(
    lens: Embedder,
    dataset: Dataset,
    *,
    templates: Sequence[str] = (),
    language: str = "en",
    embedded: Readable | None = None,
    world: World | None = None,
) -> Classification:
    """Classify every labelled picture among all of the data set's classes (paper section 3.1).

    Args:
        lens: The model.
        dataset: Labelled pictures; those without a label are left out.
        templates: Prompts with `{}`; none means the data set's own, else the model's.
        language: Which of the data set's names to call the classes by.
        embedded: What `embed_samples` gave for this model and data set, to be measured in several
            languages or with several prompts; without it the pictures are embedded now.
        world: The processes that measure together, each its share of the texts and the pictures;
            this one alone if not given.

    Raises:
        DataError: There are no labels or no names in the language, or more than 1% of the
            pictures cannot be decoded.
    """
    world = world or World()
    names = names_of_classes(dataset, language)
    prompts = choose_templates(templates, dataset, lens.templates)
    mine = lens.zero_shot_classifier(world.share(list(names.values())), prompts)
    choice = Choice(
        task="zeroshot_classification",
        names=names,
        weight=_joined(world.gathered(mine), len(names)),
        language=language,
        templates=prompts,
    )
    return measure_choice(lens, dataset, choice, embedded=embedded, world=world)


def _joined(parts: Sequence[NDArray[np.float32]], classes: int) -> NDArray[np.float32]:
    """The weights of all classes, of which each process has its `World.share`."""
    whole = np.empty((len(parts[0]), classes), np.float32)
    for rank, part in enumerate(parts):
        whole[:, rank :: len(parts)] = part
    return whole
