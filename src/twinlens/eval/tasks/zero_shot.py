"""Zero-shot classification of a data set (paper section 3.1): classes are told in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from twinlens.distributed.world import World
from twinlens.eval.context import Features
from twinlens.eval.prompts import called_alike, choose_templates, names_of_classes
from twinlens.eval.tasks.classification import Choice, Classification, measure_choice

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.embed.dataset import Readable
    from twinlens.embed.embedder import Embedder


def measure(
    lens: Embedder,
    dataset: Dataset,
    *,
    templates: Sequence[str] = (),
    language: str = "en",
    embedded: Readable | None = None,
    world: World | None = None,
) -> Classification:
    """Classify every labelled image among all of the data set's classes (paper section 3.1).

    Args:
        lens: The model.
        dataset: Labelled images; those without a label are left out.
        templates: Prompts with `{}`; none means the data set's own, else the model's.
        language: Which of the data set's names to call the classes by.
        embedded: What `embed_samples` gave for this model and data set, to be measured in several
            languages or with several prompts; without it the images are embedded now.
        world: The processes that measure together, each its share of the texts and the images;
            this one alone if not given.

    Raises:
        DataError: There are no labels or no names in the language, or more than 1% of the
            images cannot be decoded.
    """
    features = Features(lens, world=world or World())
    choice = choice_in_words(features, dataset, templates=templates, language=language)
    return measure_choice(lens, dataset, choice, embedded=embedded, world=features.world)


def choice_in_words(
    features: Features, dataset: Dataset, *, templates: Sequence[str] = (), language: str = "en"
) -> Choice:
    """The data set's classes as a choice in words; see `measure` for the arguments and errors."""
    names = names_of_classes(dataset, language)
    prompts = choose_templates(templates, dataset, features.lens.templates)
    alike = _alike(features.lens, names, prompts)
    numbers = {label: number for number, group in enumerate(alike) for label in group}
    weight = features.classifier([names[group[0]] for group in alike], prompts)
    if len(alike) < len(names):
        weight = weight[:, [numbers[label] for label in names]]
    return Choice(
        task="zeroshot_classification",
        names=names,
        weight=weight,
        language=language,
        templates=prompts,
        shared_names=called_alike(names, features.lens.tokenizer.encode),
    )


def _alike(lens: Embedder, names: Mapping[str, str], prompts: Sequence[str]) -> list[list[str]]:
    """The labels of classes that are the same words for this model, group by group."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, name in names.items():
        text = prompts[0].replace("{}", name) if prompts else name
        groups.setdefault(tuple(lens.tokenizer.encode(text)), []).append(label)
    return list(groups.values())
