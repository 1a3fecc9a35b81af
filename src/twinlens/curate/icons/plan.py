"""Which images the corpus has, and in which part: decided before anything is drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from twinlens.curate.icons import iconify
from twinlens.curate.icons.choice import Choice
from twinlens.curate.icons.choose_emoji import choose_emoji, coverage, emoji_table
from twinlens.curate.icons.choose_icons import choose_clipart, choose_icons
from twinlens.curate.icons.clipart import CLIPART, FOLDER, INSTALL, as_set, read_clipart
from twinlens.curate.icons.concepts import Words
from twinlens.curate.icons.config import PARTS, TRAIN, IconsSettings
from twinlens.curate.icons.extras import read_extras
from twinlens.curate.icons.iconify import ICONIFY_EMOJI, Drawing, IconSet
from twinlens.curate.icons.sources import ICONIFY, fetch
from twinlens.curate.icons.tags import read_tags


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """One image to draw.

    Attributes:
        icon: Where it comes from: `set:name`.
        concept: What it shows (code points or a cleaned name).
        emoji: Whether the concept is an emoji.
        number: Which of several renders of the same drawing.
        plain: On white with a standard margin, as every held-out image is.
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
    """Images of every part, in their final order, and what was left out."""

    parts: dict[str, list[PlannedImage]]
    sets: dict[str, IconSet]
    skipped: Counter[str] = field(default_factory=Counter[str])
    coverage: dict[str, int] = field(default_factory=dict[str, int])
    notes: list[str] = field(default_factory=list[str])


def make_plan(settings: IconsSettings, cache: Path) -> Plan:
    """Choose the images.

    Raises:
        DataError: A package cannot be fetched or is not the pinned one.
    """
    archive = fetch(ICONIFY, cache)
    sets = iconify.read_collection(archive)
    whole = _Whole(sets=sets)
    for info, data in iconify.read_sets(archive, {name: sets[name] for name in ICONIFY_EMOJI}):
        whole.data[info.prefix] = data
    table = emoji_table(whole.data, cache)
    for info, data in read_extras(settings.styles, cache, table.words):
        whole.add(info, data)
    choices = choose_emoji(whole.data, table, settings)
    common = coverage(choices)
    skipped: Counter[str] = Counter()
    if settings.icons_limit:
        choices += choose_icons(
            archive,
            sets=sets,
            table=table,
            tags=read_tags(cache),
            settings=settings,
            skipped=skipped,
        )
    notes: list[str] = []
    if settings.clipart:
        found = read_clipart()
        whole.add(CLIPART, as_set(found))
        choices += choose_clipart(found, table, settings)
        if not found:
            notes.append(f"No clip art: {FOLDER} is not there ({INSTALL} brings it).")
    parts = _deal(_draw(choices, archive, whole), settings)
    return Plan(parts, sets, skipped, common, notes)


@dataclass(frozen=True, slots=True)
class _Whole:
    """Every set's entry, and the sets that are held in memory."""

    sets: dict[str, IconSet]
    data: dict[str, Any] = field(default_factory=dict[str, Any])

    def add(self, info: IconSet, data: Any) -> None:
        self.sets[info.prefix] = info
        self.data[info.prefix] = data


def _deal(
    images: Iterable[tuple[Choice, PlannedImage]], settings: IconsSettings
) -> dict[str, list[PlannedImage]]:
    """The renders of every image, in the shuffled order of their parts."""
    parts: dict[str, list[PlannedImage]] = {part: [] for part in PARTS if part in settings.parts}
    for choice, image in images:
        if choice.part not in parts:
            continue
        plain = choice.part != TRAIN
        parts[choice.part] += [
            replace(image, number=number, plain=plain) for number in range(choice.renders)
        ]
    for part, found in parts.items():
        Random(f"{settings.seed}/{part}").shuffle(found)
    return parts


def _draw(
    choices: Iterable[Choice], archive: Path, whole: _Whole
) -> Iterator[tuple[Choice, PlannedImage]]:
    by_set: dict[str, list[Choice]] = defaultdict(list)
    for choice in choices:
        by_set[choice.set].append(choice)
    held = [(whole.sets[name], data) for name, data in whole.data.items() if name in by_set]
    others = {name: whole.sets[name] for name in by_set if name not in whole.data}
    for info, data in chain(held, iconify.read_sets(archive, others)):
        for choice in by_set[info.prefix]:
            image = PlannedImage(
                icon=f"{choice.set}:{choice.name}",
                drawing=iconify.drawing(data, choice.name, coloured=info.coloured),
                concept=choice.concept,
                words=choice.words,
                emoji=choice.emoji,
                style=choice.set,
                category=choice.category,
                licence=info.licence,
            )
            yield choice, image
