"""Zero-shot classification of a data set (paper section 3.1): classes are given by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from twinlens.eval.prompts import choose_templates, find_shared_names, localised_classnames
from twinlens.eval.tasks.classification import (
    ClassificationResult,
    LinearClassifier,
    evaluate_classifier,
)

if TYPE_CHECKING:
    from twinlens.data.samples import Dataset
    from twinlens.embed.embedder import Embedder
    from twinlens.eval.context import EvalContext


def evaluate_zero_shot(
    context: EvalContext, dataset: Dataset, *, templates: Sequence[str] = (), language: str = "en"
) -> ClassificationResult:
    """Classify every labelled image among all of the data set's classes (paper section 3.1).

    Args:
        context: The model's features; images that it has seen are not embedded again.
        dataset: Labelled images; those without a label are left out.
        templates: Prompts with `{}`; none means the data set's own, else the model's.
        language: Language of the class names.

    Raises:
        DataError: There are no labels or no names in the language, or more than 1% of the
            images cannot be decoded.
    """
    classifier = build_zero_shot_classifier(
        context, dataset, templates=templates, language=language
    )
    return evaluate_classifier(context, dataset, classifier)


def build_zero_shot_classifier(
    context: EvalContext, dataset: Dataset, *, templates: Sequence[str] = (), language: str = "en"
) -> LinearClassifier:
    """Build a classifier from class names; see `evaluate_zero_shot` for arguments and errors."""
    names = localised_classnames(dataset, language)
    prompts = choose_templates(templates, dataset, context.embedder.templates)
    groups = _group_identical_prompts(context.embedder, names, prompts)
    numbers = {label: number for number, group in enumerate(groups) for label in group}
    weight = context.zero_shot_classifier([names[group[0]] for group in groups], prompts)
    if len(groups) < len(names):
        weight = weight[:, [numbers[label] for label in names]]
    return LinearClassifier(
        task="zeroshot_classification",
        names=names,
        weight=weight,
        language=language,
        templates=prompts,
        shared_names=find_shared_names(names, context.embedder.tokenizer.encode),
    )


def _group_identical_prompts(
    embedder: Embedder, classnames: Mapping[str, str], templates: Sequence[str]
) -> list[list[str]]:
    """Group the labels of classes whose prompts have the same token ids."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for label, name in classnames.items():
        text = templates[0].replace("{}", name) if templates else name
        groups.setdefault(tuple(embedder.tokenizer.encode(text)), []).append(label)
    return list(groups.values())
