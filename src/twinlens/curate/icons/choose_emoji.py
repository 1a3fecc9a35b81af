"""The drawings of emoji in the corpus: every style's base emoji, few tones and flags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from twinlens.curate.icons import iconify
from twinlens.curate.icons.choice import SelectedIcon, corpus_split
from twinlens.curate.icons.concepts import (
    EmojiTable,
    emoji_kind,
    from_codepoints,
    read_emoji_table,
    strip_skin_tone,
    to_codepoints,
)
from twinlens.curate.icons.config import TRAIN, UNSEEN_STYLE, IconsConfig
from twinlens.curate.icons.sources import CLDR, CLDR_DERIVED, fetch_package


def build_emoji_table(emoji_sets: Mapping[str, Any], cache: Path) -> EmojiTable:
    """Names of the emoji that the sets draw, with the names that the sets give them."""
    chars = [data.get("chars", {}) for data in emoji_sets.values()]
    known = {to_codepoints(from_codepoints(points)) for each in chars for points in each}
    table = read_emoji_table(fetch_package(CLDR, cache), fetch_package(CLDR_DERIVED, cache), known)
    for each in chars:
        table.add_set_names(each, {})
    for data in emoji_sets.values():
        table.add_set_names({}, iconify.renaming_aliases(data))
    return table


def select_emoji(
    emoji_sets: Mapping[str, Any], table: EmojiTable, settings: IconsConfig
) -> list[SelectedIcon]:
    """The drawings of every style for every emoji, few tones and flags."""
    categories = _concept_categories(emoji_sets["noto"], table)
    flags = _sample_flags(table, settings)
    found: list[SelectedIcon] = []
    for style in settings.styles:
        for concept, icons in _group_icons_by_concept(emoji_sets[style], table).items():
            base = strip_skin_tone(concept) if emoji_kind(concept) == "tone" else concept
            category = categories.get(base, "")
            if settings.categories and category not in settings.categories:
                continue
            named = table.words[base if base in table.words else concept]
            part = corpus_split(style, is_unseen=table.is_held_out(named.label))
            renders = _num_renders(concept, part, flags, settings)
            found += [
                SelectedIcon(
                    icon_set=style,
                    name=name,
                    concept=concept,
                    words=table.words[concept],
                    is_emoji=True,
                    split=part,
                    category=category,
                    num_renders=renders,
                )
                for name in icons[: settings.variants if renders else 0]
            ]
    return _limit_skin_tones(found, settings)


def _sample_flags(table: EmojiTable, settings: IconsConfig) -> set[str]:
    flags = [concept for concept in table.words if emoji_kind(concept) == "flag"]
    rng = Random(f"{settings.seed}/flags")
    return set(rng.sample(flags, min(len(flags), settings.flags)))


def _num_renders(concept: str, split: str, flags: set[str], settings: IconsConfig) -> int:
    """The number of renders of a drawing; 0 leaves it out."""
    what = emoji_kind(concept)
    if what == "base":
        return settings.emoji_renders if split == TRAIN else 1
    return int(split == TRAIN and (what == "tone" or concept in flags))


def _limit_skin_tones(choices: Iterable[SelectedIcon], settings: IconsConfig) -> list[SelectedIcon]:
    """Keep at most `tones` skin-tone variants of each drawing, drawn by lot."""
    kept: list[SelectedIcon] = []
    tones: dict[tuple[str, str], list[SelectedIcon]] = defaultdict(list)
    for choice in choices:
        if emoji_kind(choice.concept) == "tone":
            tones[choice.icon_set, strip_skin_tone(choice.concept)].append(choice)
        else:
            kept.append(choice)
    for (style, base), variants in tones.items():
        rng = Random(f"{settings.seed}/tone/{style}/{base}")
        kept += rng.sample(variants, min(settings.tones, len(variants)))
    return kept


def _group_icons_by_concept(data: Mapping[str, Any], table: EmojiTable) -> dict[str, list[str]]:
    by_chars = {
        name: to_codepoints(from_codepoints(points))
        for points, name in data.get("chars", {}).items()
    }
    found: dict[str, list[str]] = defaultdict(list)
    for name in iconify.icon_names(data):
        concept = by_chars.get(name) or table.find_by_similar_name(name)
        if concept is not None and concept in table.words:
            found[concept].append(name)
    return found


def _concept_categories(data: Mapping[str, Any], table: EmojiTable) -> dict[str, str]:
    icons = {
        name: concept
        for concept, each in _group_icons_by_concept(data, table).items()
        for name in each
    }
    return {
        icons[name]: category.lower()
        for category, members in data.get("categories", {}).items()
        for name in members
        if name in icons
    }


def style_coverage(choices: Iterable[SelectedIcon]) -> dict[str, int]:
    """The number of the unseen style's concepts that each style has."""
    by_style: dict[str, set[str]] = defaultdict(set)
    for choice in choices:
        by_style[choice.icon_set].add(choice.concept)
    wanted = by_style.get(UNSEEN_STYLE, set())
    return {style: len(found & wanted) for style, found in by_style.items()}
