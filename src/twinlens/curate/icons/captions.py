"""Captions of an image: names, keywords, categories and templates, in many languages."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from twinlens.curate.icons.concepts import ConceptWords

_EMOJI_TEMPLATES = (
    "an emoji of {}",
    "{} emoji",
    "the {} emoji",
    "a picture of {}",
    "a picture of a {}",
    "a drawing of {}",
    "a drawing of a {}",
    "a cartoon of a {}",
    "an icon of a {}",
)
_COLOURED_TEMPLATES = (
    "an icon of {}",
    "an icon of a {}",
    "{} icon",
    "a picture of a {}",
    "a drawing of a {}",
    "a colourful icon of {}",
    "a symbol for {}",
)
_MONOCHROME_TEMPLATES = (
    "an icon of {}",
    "an icon of a {}",
    "{} icon",
    "a picture of a {}",
    "a drawing of a {}",
    "a {} symbol",
    "a simple icon of {}",
    "a pictogram of {}",
)


def caption_templates(*, is_emoji: bool, is_coloured: bool) -> tuple[str, ...]:
    """Caption templates fit for a kind of image."""
    if is_emoji:
        return _EMOJI_TEMPLATES
    return _COLOURED_TEMPLATES if is_coloured else _MONOCHROME_TEMPLATES


def make_captions(
    words: ConceptWords,
    templates: Sequence[str],
    rng: Random,
    *,
    category: str = "",
    max_languages: int = 6,
) -> list[str]:
    """Strings that describe one image; a reader draws one of them uniformly.

    Six are English: the name twice, two templates, the name with keywords, keywords. Then one
    each for up to `max_languages` other languages, mostly the name: names are what people ask for.
    """
    name, keywords = words.label, _drop_name(words.keywords.get("en", ()), words.label)
    first, second = rng.sample(list(templates), 2)
    some = ", ".join(_sample_at_most(keywords, 3, rng))
    found = [
        name,
        first.format(name),
        second.format(name),
        f"{name}: {some}" if some else f"{name}, {category}" if category else name,
        name,
        ", ".join(_sample_at_most(keywords, 3, rng)) or name,
    ]
    others = [language for language in words.names if language != "en"]
    for language in sorted(rng.sample(others, min(max_languages, len(others)))):
        found.append(_foreign_caption(words.names[language], words.keywords.get(language, ()), rng))
    return found


def _foreign_caption(name: str, keywords: Sequence[str], rng: Random) -> str:
    keywords = _drop_name(keywords, name)
    draw = rng.random()
    if draw < 0.8 or not keywords:
        return name
    some = ", ".join(_sample_at_most(keywords, 3, rng))
    return f"{name}: {some}" if draw < 0.93 else some


def _drop_name(keywords: Sequence[str], name: str) -> list[str]:
    return [word for word in keywords if word.lower() != name.lower()]


def _sample_at_most(items: Sequence[str], max_items: int, rng: Random) -> list[str]:
    return rng.sample(list(items), min(max_items, len(items)))
