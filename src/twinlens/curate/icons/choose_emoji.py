"""Which drawings of emoji the corpus has: every style's base emoji, few tones and flags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from twinlens.curate.icons import iconify
from twinlens.curate.icons.choice import Choice, part_of
from twinlens.curate.icons.concepts import (
    EmojiTable,
    characters,
    codepoints,
    kind,
    read_emoji,
    without_tone,
)
from twinlens.curate.icons.config import TRAIN, UNSEEN_STYLE, IconsSettings
from twinlens.curate.icons.sources import CLDR, CLDR_DERIVED, fetch


def emoji_table(emoji_sets: Mapping[str, Any], cache: Path) -> EmojiTable:
    """Names of the emoji that the sets draw, with the names that the sets give them."""
    chars = [data.get("chars", {}) for data in emoji_sets.values()]
    known = {codepoints(characters(points)) for each in chars for points in each}
    table = read_emoji(fetch(CLDR, cache), fetch(CLDR_DERIVED, cache), known)
    for each in chars:
        table.add_set(each, {})
    for data in emoji_sets.values():
        table.add_set({}, iconify.other_names(data))
    return table


def choose_emoji(
    emoji_sets: Mapping[str, Any], table: EmojiTable, settings: IconsSettings
) -> list[Choice]:
    """The drawings of every style for every emoji, few tones and flags."""
    categories = _categories(emoji_sets["noto"], table)
    flags = _flags(table, settings)
    found: list[Choice] = []
    for style in settings.styles:
        for concept, icons in _icons_by_concept(emoji_sets[style], table).items():
            base = without_tone(concept) if kind(concept) == "tone" else concept
            category = categories.get(base, "")
            if settings.categories and category not in settings.categories:
                continue
            named = table.words[base if base in table.words else concept]
            part = part_of(style, unseen=table.held_out(named.label))
            renders = _renders(concept, part, flags, settings)
            found += [
                Choice(
                    set=style,
                    name=name,
                    concept=concept,
                    words=table.words[concept],
                    emoji=True,
                    part=part,
                    category=category,
                    renders=renders,
                )
                for name in icons[: settings.variants if renders else 0]
            ]
    return _few_tones(found, settings)


def _flags(table: EmojiTable, settings: IconsSettings) -> set[str]:
    flags = [concept for concept in table.words if kind(concept) == "flag"]
    rng = Random(f"{settings.seed}/flags")
    return set(rng.sample(flags, min(len(flags), settings.flags)))


def _renders(concept: str, part: str, flags: set[str], settings: IconsSettings) -> int:
    """How often a drawing is shown; 0 leaves it out."""
    what = kind(concept)
    if what == "base":
        return settings.emoji_renders if part == TRAIN else 1
    return int(part == TRAIN and (what == "tone" or concept in flags))


def _few_tones(choices: Iterable[Choice], settings: IconsSettings) -> list[Choice]:
    """Keep at most `tones` skin-tone variants of each drawing, drawn by lot."""
    kept: list[Choice] = []
    tones: dict[tuple[str, str], list[Choice]] = defaultdict(list)
    for choice in choices:
        if kind(choice.concept) == "tone":
            tones[choice.set, without_tone(choice.concept)].append(choice)
        else:
            kept.append(choice)
    for (style, base), variants in tones.items():
        rng = Random(f"{settings.seed}/tone/{style}/{base}")
        kept += rng.sample(variants, min(settings.tones, len(variants)))
    return kept


def _icons_by_concept(data: Mapping[str, Any], table: EmojiTable) -> dict[str, list[str]]:
    by_chars = {
        name: codepoints(characters(points)) for points, name in data.get("chars", {}).items()
    }
    found: dict[str, list[str]] = defaultdict(list)
    for name in iconify.icon_names(data):
        concept = by_chars.get(name) or table.find_loosely(name)
        if concept is not None and concept in table.words:
            found[concept].append(name)
    return found


def _categories(data: Mapping[str, Any], table: EmojiTable) -> dict[str, str]:
    icons = {
        name: concept for concept, each in _icons_by_concept(data, table).items() for name in each
    }
    return {
        icons[name]: category.lower()
        for category, members in data.get("categories", {}).items()
        for name in members
        if name in icons
    }


def coverage(choices: Iterable[Choice]) -> dict[str, int]:
    """How many of the unseen style's concepts each style has."""
    by_style: dict[str, set[str]] = defaultdict(set)
    for choice in choices:
        by_style[choice.set].add(choice.concept)
    wanted = by_style.get(UNSEEN_STYLE, set())
    return {style: len(found & wanted) for style, found in by_style.items()}
