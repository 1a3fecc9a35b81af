"""What a data set is asked: templates around class names, in any language it knows them in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from twinlens.errors import DataError

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset, Sample


def imagenet_classnames() -> list[str]:
    """ImageNet's 1,000 classes as OpenAI named them for CLIP, in the order of their labels.

    Two names are there twice, "missile" and "sunglasses": so it was published.
    """
    return _lines("classnames.txt")


def imagenet_templates() -> list[str]:
    """The 80 sentences with `{}` that OpenAI tuned on ImageNet (paper section 3.1.4)."""
    return _lines("templates.txt")


def _lines(name: str) -> list[str]:
    text = files("twinlens").joinpath("assets", "imagenet", name).read_text(encoding="utf-8")
    return text.splitlines()


def choose_templates(
    given: Sequence[str], dataset: Dataset, fallback: Sequence[str]
) -> tuple[str, ...]:
    """The templates given, else the data set's own, else the fallback.

    CLIP_benchmark's files write `{c}` where the class goes; both spellings are read.
    """
    templates = given or dataset.templates or fallback
    return tuple(template.replace("{c}", "{}") for template in templates)


def names_of_classes(dataset: Dataset, language: str = "en") -> dict[str, str]:
    """What each class is called in a language, by its label; classes without a name are left out.

    English is the data set's own labels, or the names behind them. Other languages come from the
    samples' `names`, a table of language to name.

    Raises:
        DataError: The data set has no labels, or no names in this language.
    """
    if not dataset.classnames:
        raise DataError(f"{dataset.name}: got no labels, expected images with a class each")
    if language == "en":
        return {label: dataset.spoken.get(label, label) for label in dataset.classnames}
    found = {
        sample.label: names[language]
        for sample in dataset.samples
        if sample.label and language in (names := _names(sample))
    }
    if not found:
        known = sorted({key for sample in dataset.samples for key in _names(sample)} | {"en"})
        raise DataError(
            f"language: got {language!r}, expected one that {dataset.name} has names in: "
            f"{', '.join(known)}"
        )
    return {label: found[label] for label in dataset.classnames if label in found}


def called_alike(
    names: Mapping[str, str], encode: Callable[[str], Sequence[int]] | None = None
) -> dict[str, tuple[str, ...]]:
    """The labels of those classes that are called like another one, by the first one's name.

    Names are alike that differ in case, blanks and underscores only, or that a model reads alike.

    Args:
        names: What each class is called, by its label.
        encode: The model's tokenizer, where it is asked in words.

    Example:
        >>> called_alike({"crane": "crane", "egret": "egret", "crane (2)": "crane"})
        {'crane': ('crane', 'crane (2)')}
    """
    groups: dict[Hashable, list[str]] = {}
    for label, name in names.items():
        keys: list[Hashable] = [" ".join(name.replace("_", " ").split()).casefold()]
        keys += [tuple(encode(name))] if encode is not None else []
        group = next((groups[key] for key in keys if key in groups), [])
        group.append(label)
        groups.update(dict.fromkeys(keys, group))
    found = {group[0]: tuple(group) for group in groups.values() if len(group) > 1}
    return {names[first]: group for first, group in found.items()}


def _names(sample: Sample) -> dict[str, str]:
    return sample.metadata.get("names") or {}
