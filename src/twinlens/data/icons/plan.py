"""Which pictures the corpus has, and in which part: decided before anything is drawn."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from twinlens.data.icons import iconify, names
from twinlens.data.icons.concepts import (
    EmojiTable,
    Words,
    characters,
    codepoints,
    kind,
    read_emoji,
    slug,
    without_tone,
)
from twinlens.data.icons.iconify import EMOJI_SETS, UNSEEN_STYLE, Drawing, IconSet
from twinlens.data.icons.settings import IconsSettings
from twinlens.data.icons.sources import CLDR, CLDR_DERIVED, ICONIFY, fetch
from twinlens.data.icons.tags import read_tags

TRAIN, UNSEEN_CONCEPTS, UNSEEN_STYLES, UNSEEN_BOTH = SPLITS = (
    "train",
    "unseen-concepts",
    "unseen-style",
    "unseen-both",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture to draw.

    Attributes:
        icon: Where it comes from: `set:name`.
        concept: What it shows (code points or a cleaned name).
        emoji: Whether the concept is an emoji.
        number: Which of several renders of the same drawing.
        plain: On white with a standard margin, as every held-out picture is.
    """

    icon: str
    drawing: Drawing
    concept: str
    words: Words
    emoji: bool
    style: str
    category: str
    licence: str
    number: int = 0
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Pictures of every split, in their final order, and what was left out."""

    splits: dict[str, list[Picture]]
    sets: dict[str, IconSet]
    skipped: Counter[str] = field(default_factory=Counter[str])
    coverage: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class _Choice:
    """An icon before its drawing is read."""

    set: str
    name: str
    concept: str
    words: Words
    emoji: bool
    split: str
    renders: int
    category: str


def make_plan(settings: IconsSettings, cache: Path) -> Plan:
    """Choose the pictures.

    Raises:
        DataError: A package cannot be fetched or is not the pinned one.
    """
    archive = fetch(ICONIFY, cache)
    sets = iconify.read_collection(archive)
    emoji_sets = {
        info.prefix: data
        for info, data in iconify.read_sets(archive, {name: sets[name] for name in EMOJI_SETS})
    }
    table = _emoji_table(emoji_sets, cache)
    skipped: Counter[str] = Counter()
    choices = _choose_emoji(emoji_sets, table, settings)
    coverage = _coverage(choices)
    if settings.icons_limit:
        choices += _choose_icons(archive, sets, table, read_tags(cache), settings, skipped)
    pictures = _draw(choices, archive, sets)
    splits: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    for choice, picture in pictures:
        for number in range(choice.renders):
            plain = choice.split != TRAIN
            splits[choice.split].append(_with(picture, number, plain))
    for split, found in splits.items():
        Random(f"{settings.seed}/{split}").shuffle(found)
    return Plan(splits, sets, skipped, coverage)


def _with(picture: Picture, number: int, plain: bool) -> Picture:
    values = {name: getattr(picture, name) for name in Picture.__slots__}
    return Picture(**{**values, "number": number, "plain": plain})


# Emoji ----------------------------------------------------------------------------------------


def _emoji_table(emoji_sets: Mapping[str, Any], cache: Path) -> EmojiTable:
    chars = [data.get("chars", {}) for data in emoji_sets.values()]
    known = {codepoints(characters(points)) for each in chars for points in each}
    table = read_emoji(fetch(CLDR, cache), fetch(CLDR_DERIVED, cache), known)
    for each in chars:
        table.add_set(each, {})
    for data in emoji_sets.values():
        table.add_set({}, iconify.other_names(data))
    return table


def _choose_emoji(
    emoji_sets: Mapping[str, Any], table: EmojiTable, settings: IconsSettings
) -> list[_Choice]:
    categories = _emoji_categories(emoji_sets, table)
    flags = [concept for concept in table.words if kind(concept) == "flag"]
    flags = set(Random(f"{settings.seed}/flags").sample(flags, min(len(flags), settings.flags)))
    found: list[_Choice] = []
    for style in settings.styles:
        for concept, icons in _icons_by_concept(emoji_sets[style], table).items():
            base = without_tone(concept) if kind(concept) == "tone" else concept
            name = table.words[base if base in table.words else concept].label
            split = _split(style, unseen=table.held_out(name))
            renders = _emoji_renders(concept, style, split, flags, settings)
            for name in icons[: settings.variants if renders else 0]:
                words = table.words[concept]
                category = categories.get(base, "")
                found.append(
                    _Choice(style, name, concept, words, True, split, renders, category)
                )
    return _one_tone_each(found, settings)


def _split(style: str, *, unseen: bool) -> str:
    if style == UNSEEN_STYLE:
        return UNSEEN_BOTH if unseen else UNSEEN_STYLES
    return UNSEEN_CONCEPTS if unseen else TRAIN


def _emoji_renders(
    concept: str, style: str, split: str, flags: set[str], settings: IconsSettings
) -> int:
    """How often a drawing is shown; 0 leaves it out."""
    what = kind(concept)
    if what == "base":
        return settings.emoji_renders if split == TRAIN else 1
    if split != TRAIN or style == UNSEEN_STYLE:
        return 0
    if what == "flag":
        return 1 if concept in flags else 0
    return 1


def _one_tone_each(choices: Iterable[_Choice], settings: IconsSettings) -> list[_Choice]:
    """Keep at most `tones` skin-tone variants of each drawing, drawn by lot."""
    kept: list[_Choice] = []
    tones: dict[tuple[str, str], list[_Choice]] = defaultdict(list)
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


def _emoji_categories(emoji_sets: Mapping[str, Any], table: EmojiTable) -> dict[str, str]:
    data = emoji_sets["noto"]
    icons = {
        name: concept for concept, each in _icons_by_concept(data, table).items() for name in each
    }
    return {
        icons[name]: category.lower()
        for category, members in data.get("categories", {}).items()
        for name in members
        if name in icons
    }


def _coverage(choices: Iterable[_Choice]) -> dict[str, int]:
    """How many of the unseen style's concepts each style has."""
    by_style: dict[str, set[str]] = defaultdict(set)
    for choice in choices:
        by_style[choice.set].add(choice.concept)
    wanted = by_style.get(UNSEEN_STYLE, set())
    return {style: len(found & wanted) for style, found in by_style.items()}


# Icons ----------------------------------------------------------------------------------------


def _choose_icons(
    archive: Path,
    sets: Mapping[str, IconSet],
    table: EmojiTable,
    tags: Mapping[str, tuple[str, ...]],
    settings: IconsSettings,
    skipped: Counter[str],
) -> list[_Choice]:
    plain_sets = {name: info for name, info in sets.items() if name not in EMOJI_SETS}
    by_concept: dict[str, list[_Choice]] = defaultdict(list)
    for info, data in iconify.read_sets(archive, plain_sets):
        for choice in _readable(info, data, table, tags, skipped):
            by_concept[choice.concept].append(choice)
    chosen = [_best(found, sets, settings) for found in by_concept.values()]
    chosen.sort(key=lambda found: _rank(found, sets, settings))
    train: list[_Choice] = []
    unseen: list[_Choice] = []
    for found in chosen:
        if found[0].split == TRAIN:
            train += found
        elif found[0].emoji or _support(found) > 1:
            unseen += found[: settings.unseen_pictures]
    skipped["over the limit of icons"] += max(0, len(train) - settings.icons_limit)
    return train[: settings.icons_limit] + unseen


def _readable(
    info: IconSet,
    data: Mapping[str, Any],
    table: EmojiTable,
    tags: Mapping[str, tuple[str, ...]],
    skipped: Counter[str],
) -> Iterator[_Choice]:
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
        concept = table.find_official(label)
        if concept is None:
            keywords = tuple(dict.fromkeys(names.more_words(name) + tags.get(slug(label), ())))
            words = Words({"en": label}, {"en": keywords})
        else:
            words = table.words[concept]
        split = _split(info.prefix, unseen=table.held_out(words.label))
        category = next(iter(categories.get(name, ())), "")
        yield _Choice(
            info.prefix, name, concept or slug(label), words, concept is not None, split, 1, category
        )


def _categories(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for category, members in data.get("categories", {}).items():
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", category).lower()
        for name in members:
            found[name] = (*found.get(name, ()), text)
    return found


def _best(
    found: list[_Choice], sets: Mapping[str, IconSet], settings: IconsSettings
) -> list[_Choice]:
    """The pictures of one concept: as many sets as possible, coloured ones first."""
    rng = Random(f"{settings.seed}/icons/{found[0].concept}")
    shuffled = rng.sample(found, len(found))
    seen: Counter[str] = Counter()
    order: list[tuple[int, bool, int, _Choice]] = []
    for place, choice in enumerate(shuffled):
        order.append((seen[choice.set], not sets[choice.set].coloured, place, choice))
        seen[choice.set] += 1
    order.sort(key=lambda item: item[:3])
    most = settings.emoji_icons if found[0].emoji else settings.icons_per_concept
    return [item[3] for item in order[:most]]


def _support(found: Iterable[_Choice]) -> int:
    """How many families of sets know a concept (`fa6-solid` and `fa7-solid` are one)."""
    return len({re.sub(r"\d", "", choice.set).partition("-")[0] for choice in found})


def _rank(
    found: list[_Choice], sets: Mapping[str, IconSet], settings: IconsSettings
) -> tuple[bool, int, bool, float]:
    """Emoji concepts first, then what many sets have, then coloured sets, then by lot."""
    coloured = any(sets[choice.set].coloured for choice in found)
    lot = Random(f"{settings.seed}/rank/{found[0].concept}").random()
    return (not found[0].emoji, -_support(found), not coloured, lot)


# Drawings -------------------------------------------------------------------------------------


def _draw(
    choices: Iterable[_Choice], archive: Path, sets: Mapping[str, IconSet]
) -> Iterator[tuple[_Choice, Picture]]:
    by_set: dict[str, list[_Choice]] = defaultdict(list)
    for choice in choices:
        by_set[choice.set].append(choice)
    for info, data in iconify.read_sets(archive, {name: sets[name] for name in by_set}):
        for choice in by_set[info.prefix]:
            yield (
                choice,
                Picture(
                    icon=f"{choice.set}:{choice.name}",
                    drawing=iconify.drawing(data, choice.name, coloured=info.coloured),
                    concept=choice.concept,
                    words=choice.words,
                    emoji=choice.emoji,
                    style=choice.set,
                    category=choice.category,
                    licence=info.licence,
                ),
            )
