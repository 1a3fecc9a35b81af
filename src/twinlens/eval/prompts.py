"""Prompts of a data set: templates, and class names in the languages that it has."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from twinlens.errors import DataError
from twinlens.eval.requirements import require_labels

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset, Sample


def imagenet_classnames() -> list[str]:
    """ImageNet's 1,000 classes as OpenAI named them for CLIP, in the order of their labels.

    Two names are there twice, "missile" and "sunglasses", as they were published.
    """
    return _read_asset_lines("classnames.txt")


def imagenet_templates() -> list[str]:
    """The 80 sentences with `{}` that OpenAI tuned on ImageNet (paper section 3.1.4)."""
    return _read_asset_lines("templates.txt")


def _read_asset_lines(name: str) -> list[str]:
    text = files("twinlens").joinpath("assets", "imagenet", name).read_text(encoding="utf-8")
    return text.splitlines()


def choose_templates(
    requested: Sequence[str], dataset: Dataset, fallback: Sequence[str]
) -> tuple[str, ...]:
    """Choose the requested templates, else the data set's own, else the fallback.

    CLIP_benchmark's files write `{c}` where the class goes; both spellings are read.
    """
    templates = requested or dataset.templates or fallback
    return tuple(template.replace("{c}", "{}") for template in templates)


def localised_classnames(dataset: Dataset, language: str = "en") -> dict[str, str]:
    """The name of each class in a language, by its label; classes without a name are left out.

    English is the data set's own labels, or the names behind them. Other languages come from the
    samples' `names`, a table of language to name.

    Raises:
        DataError: The data set has no labels, or no names in this language.
    """
    require_labels(dataset)
    if language == "en":
        return {label: dataset.spoken.get(label, label) for label in dataset.classnames}
    translated = {
        sample.label: names[language]
        for sample in dataset.samples
        if sample.label and language in (names := _translations(sample))
    }
    if not translated:
        known = sorted(
            {key for sample in dataset.samples for key in _translations(sample)} | {"en"}
        )
        raise DataError(
            f"language: got {language!r}, expected one that {dataset.name} has names in: "
            f"{', '.join(known)}"
        )
    return {label: translated[label] for label in dataset.classnames if label in translated}


def find_shared_names(
    names: Mapping[str, str], encode: Callable[[str], Sequence[int]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Find classes with the same name: their labels, by the first one's name.

    Names are the same that differ in case, blanks and underscores only, or that have the same ids.

    Args:
        names: Name of each class, by its label.
        encode: The model's tokenizer, for a classifier that is built from names.

    Example:
        >>> find_shared_names({"crane": "crane", "egret": "egret", "crane (2)": "crane"})
        {'crane': ('crane', 'crane (2)')}
    """
    groups: dict[Hashable, list[str]] = {}
    for label, name in names.items():
        keys: list[Hashable] = [" ".join(name.replace("_", " ").split()).casefold()]
        keys += [tuple(encode(name))] if encode is not None else []
        group = next((groups[key] for key in keys if key in groups), [])
        group.append(label)
        groups.update(dict.fromkeys(keys, group))
    return {names[group[0]]: tuple(group) for group in groups.values() if len(group) > 1}


def _translations(sample: Sample) -> dict[str, str]:
    return sample.metadata.get("names") or {}
