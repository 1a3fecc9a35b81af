"""The icons and clip art in the corpus: readable names, no brands, capped per concept."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from twinlens.curate.icons import iconify, names
from twinlens.curate.icons.choice import SelectedIcon, corpus_split
from twinlens.curate.icons.clipart import CLIPART_SET, Clipart
from twinlens.curate.icons.concepts import ConceptWords, EmojiTable, slugify
from twinlens.curate.icons.config import EMOJI_STYLES, TRAIN, IconsConfig
from twinlens.curate.icons.iconify import IconSet


def select_icons(
    archive: Path,
    *,
    sets: Mapping[str, IconSet],
    table: EmojiTable,
    tags: Mapping[str, tuple[str, ...]],
    settings: IconsConfig,
    skipped: Counter[str],
) -> list[SelectedIcon]:
    """The icons of every usable set, capped per concept and in all.

    Args:
        archive: The icon collection.
        sets: Its sets.
        table: The emoji: an icon of an emoji's name shows that emoji.
        tags: Keywords by the slug of a cleaned name.
        settings: The caps.
        skipped: Counts what is left out, by reason.
    """
    plain_sets = {name: info for name, info in sets.items() if name not in EMOJI_STYLES}
    by_concept: dict[str, list[SelectedIcon]] = defaultdict(list)
    for info, data in iconify.read_set_files(archive, plain_sets):
        for choice in _readable_icons(info, data, table, tags, skipped):
            by_concept[choice.concept].append(choice)
    chosen = [_limit_per_concept(found, sets, settings) for found in by_concept.values()]
    chosen.sort(key=lambda found: _rank_key(found, sets, settings))
    train: list[SelectedIcon] = []
    unseen: list[SelectedIcon] = []
    for found in chosen:
        if found[0].split == TRAIN:
            train += found
        elif found[0].is_emoji or _num_set_families(found) > 1:
            unseen += found[: settings.unseen_images]
    skipped["over the limit of icons"] += max(0, len(train) - settings.icons_limit)
    return train[: settings.icons_limit] + unseen


def _readable_icons(
    info: IconSet,
    data: Mapping[str, Any],
    table: EmojiTable,
    tags: Mapping[str, tuple[str, ...]],
    skipped: Counter[str],
) -> Iterator[SelectedIcon]:
    categories = _icon_categories(data)
    ends = names.declared_affixes(data)
    for name in iconify.icon_names(data):
        if names.is_brand(name, categories.get(name, ())):
            skipped["brands"] += 1
            continue
        label = names.clean_name(name, *ends)
        if not label:
            skipped["names that say nothing"] += 1
            continue
        keywords = names.appended_keywords(name) + tags.get(slugify(label), ())
        words = ConceptWords({"en": label}, {"en": tuple(dict.fromkeys(keywords))})
        category = next(iter(categories.get(name, ())), "")
        yield _select_icon(info.prefix, name, words, table, category)


def _select_icon(
    style: str, name: str, words: ConceptWords, table: EmojiTable, category: str
) -> SelectedIcon:
    """An icon; if it has the name of an emoji, it takes all of that emoji's words."""
    emoji = table.find_by_official_name(words.label)
    said = words if emoji is None else table.words[emoji]
    return SelectedIcon(
        icon_set=style,
        name=name,
        concept=emoji or slugify(words.label),
        words=said,
        is_emoji=emoji is not None,
        split=corpus_split(style, is_unseen=table.is_held_out(said.label)),
        category=category,
    )


def select_clipart(
    cliparts: Iterable[Clipart], table: EmojiTable, settings: IconsConfig
) -> list[SelectedIcon]:
    """All of Debian's drawings."""
    choices: list[SelectedIcon] = []
    for each in cliparts:
        italian = {"it": each.italian_title} if each.italian_title else {}
        words = ConceptWords({"en": each.title, **italian}, {"en": each.keywords})
        choice = _select_icon(CLIPART_SET.prefix, each.name, words, table, each.category)
        renders = settings.clipart_renders if choice.split == TRAIN else 1
        choices.append(replace(choice, num_renders=renders))
    return choices


def _icon_categories(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for category, members in data.get("categories", {}).items():
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", category).lower()
        for name in members:
            found[name] = (*found.get(name, ()), text)
    return found


def _limit_per_concept(
    found: list[SelectedIcon], sets: Mapping[str, IconSet], settings: IconsConfig
) -> list[SelectedIcon]:
    """The images of one concept: as many sets as possible, coloured ones first."""
    rng = Random(f"{settings.seed}/icons/{found[0].concept}")
    shuffled = rng.sample(found, len(found))
    seen: Counter[str] = Counter()
    order: list[tuple[int, bool, int, SelectedIcon]] = []
    for place, choice in enumerate(shuffled):
        order.append((seen[choice.icon_set], not sets[choice.icon_set].is_coloured, place, choice))
        seen[choice.icon_set] += 1
    order.sort(key=lambda item: item[:3])
    most = settings.emoji_icons if found[0].is_emoji else settings.icons_per_concept
    return [item[3] for item in order[:most]]


def _num_set_families(found: Iterable[SelectedIcon]) -> int:
    """The number of set families that know a concept (`fa6-solid` and `fa7-solid` are one)."""
    return len({re.sub(r"\d", "", choice.icon_set).partition("-")[0] for choice in found})


def _rank_key(
    found: list[SelectedIcon], sets: Mapping[str, IconSet], settings: IconsConfig
) -> tuple[bool, int, bool, float]:
    """Emoji concepts first, then what many sets have, then coloured sets, then by lot."""
    coloured = any(sets[choice.icon_set].is_coloured for choice in found)
    lot = Random(f"{settings.seed}/rank/{found[0].concept}").random()
    return (not found[0].is_emoji, -_num_set_families(found), not coloured, lot)
