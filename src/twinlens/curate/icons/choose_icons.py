"""Which icons and clip art the corpus has: readable names, no brands, capped per concept."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from twinlens.curate.icons import iconify, names
from twinlens.curate.icons.choice import Choice, part_of
from twinlens.curate.icons.clipart import CLIPART, Clipart
from twinlens.curate.icons.concepts import EmojiTable, Words, slug
from twinlens.curate.icons.config import EMOJI_STYLES, TRAIN, IconsSettings
from twinlens.curate.icons.iconify import IconSet


def choose_icons(
    archive: Path,
    *,
    sets: Mapping[str, IconSet],
    table: EmojiTable,
    tags: Mapping[str, tuple[str, ...]],
    settings: IconsSettings,
    skipped: Counter[str],
) -> list[Choice]:
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
    by_concept: dict[str, list[Choice]] = defaultdict(list)
    for info, data in iconify.read_sets(archive, plain_sets):
        for choice in _readable(info, data, table, tags, skipped):
            by_concept[choice.concept].append(choice)
    chosen = [_best(found, sets, settings) for found in by_concept.values()]
    chosen.sort(key=lambda found: _rank(found, sets, settings))
    train: list[Choice] = []
    unseen: list[Choice] = []
    for found in chosen:
        if found[0].part == TRAIN:
            train += found
        elif found[0].emoji or _support(found) > 1:
            unseen += found[: settings.unseen_images]
    skipped["over the limit of icons"] += max(0, len(train) - settings.icons_limit)
    return train[: settings.icons_limit] + unseen


def _readable(
    info: IconSet,
    data: Mapping[str, Any],
    table: EmojiTable,
    tags: Mapping[str, tuple[str, ...]],
    skipped: Counter[str],
) -> Iterator[Choice]:
    categories = _categories(data)
    ends = names.affixes(data)
    for name in iconify.icon_names(data):
        if names.is_brand(name, categories.get(name, ())):
            skipped["brands"] += 1
            continue
        label = names.clean_name(name, *ends)
        if not label:
            skipped["names that say nothing"] += 1
            continue
        keywords = names.more_words(name) + tags.get(slug(label), ())
        words = Words({"en": label}, {"en": tuple(dict.fromkeys(keywords))})
        category = next(iter(categories.get(name, ())), "")
        yield _choice(info.prefix, name, words, table, category)


def _choice(style: str, name: str, words: Words, table: EmojiTable, category: str) -> Choice:
    """An icon; if it has the name of an emoji, it takes all of that emoji's words."""
    emoji = table.find_official(words.label)
    said = words if emoji is None else table.words[emoji]
    return Choice(
        set=style,
        name=name,
        concept=emoji or slug(words.label),
        words=said,
        emoji=emoji is not None,
        part=part_of(style, unseen=table.held_out(said.label)),
        category=category,
    )


def choose_clipart(
    found: Iterable[Clipart], table: EmojiTable, settings: IconsSettings
) -> list[Choice]:
    """All of Debian's drawings."""
    choices: list[Choice] = []
    for each in found:
        italian = {"it": each.italian} if each.italian else {}
        words = Words({"en": each.title, **italian}, {"en": each.keywords})
        choice = _choice(CLIPART.prefix, each.name, words, table, each.category)
        renders = settings.clipart_renders if choice.part == TRAIN else 1
        choices.append(replace(choice, renders=renders))
    return choices


def _categories(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for category, members in data.get("categories", {}).items():
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", category).lower()
        for name in members:
            found[name] = (*found.get(name, ()), text)
    return found


def _best(
    found: list[Choice], sets: Mapping[str, IconSet], settings: IconsSettings
) -> list[Choice]:
    """The images of one concept: as many sets as possible, coloured ones first."""
    rng = Random(f"{settings.seed}/icons/{found[0].concept}")
    shuffled = rng.sample(found, len(found))
    seen: Counter[str] = Counter()
    order: list[tuple[int, bool, int, Choice]] = []
    for place, choice in enumerate(shuffled):
        order.append((seen[choice.set], not sets[choice.set].coloured, place, choice))
        seen[choice.set] += 1
    order.sort(key=lambda item: item[:3])
    most = settings.emoji_icons if found[0].emoji else settings.icons_per_concept
    return [item[3] for item in order[:most]]


def _support(found: Iterable[Choice]) -> int:
    """How many families of sets know a concept (`fa6-solid` and `fa7-solid` are one)."""
    return len({re.sub(r"\d", "", choice.set).partition("-")[0] for choice in found})


def _rank(
    found: list[Choice], sets: Mapping[str, IconSet], settings: IconsSettings
) -> tuple[bool, int, bool, float]:
    """Emoji concepts first, then what many sets have, then coloured sets, then by lot."""
    coloured = any(sets[choice.set].coloured for choice in found)
    lot = Random(f"{settings.seed}/rank/{found[0].concept}").random()
    return (not found[0].emoji, -_support(found), not coloured, lot)
