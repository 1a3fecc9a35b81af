"""The images of the corpus, and the part of each: decided before anything is drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from twinlens.curate.icons import iconify
from twinlens.curate.icons.choice import SelectedIcon
from twinlens.curate.icons.choose_emoji import build_emoji_table, select_emoji, style_coverage
from twinlens.curate.icons.choose_icons import select_clipart, select_icons
from twinlens.curate.icons.clipart import (
    CLIPART_DIR,
    CLIPART_SET,
    INSTALL_COMMAND,
    read_clipart,
    to_icon_set_json,
)
from twinlens.curate.icons.concepts import ConceptWords
from twinlens.curate.icons.config import SPLITS, TRAIN, IconsConfig
from twinlens.curate.icons.extras import read_extra_sets
from twinlens.curate.icons.iconify import ICONIFY_EMOJI_STYLES, Drawing, IconSet
from twinlens.curate.icons.sources import ICONIFY, fetch_package
from twinlens.curate.icons.tags import read_tags


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusImage:
    """One image to draw.

    Attributes:
        icon_id: Where it comes from: `set:name`.
        concept: What it shows (code points or a cleaned name).
        render_index: Which of several renders of the same drawing.
        is_plain: On white with a standard margin, as every held-out image is.
    """

    icon_id: str
    drawing: Drawing
    concept: str
    words: ConceptWords
    style: str
    category: str
    licence: str
    render_index: int = 0
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class CorpusPlan:
    """Images of every part, in their final order, and what was left out."""

    splits: dict[str, list[CorpusImage]]
    sets: dict[str, IconSet]
    skipped: Counter[str] = field(default_factory=Counter[str])
    coverage: dict[str, int] = field(default_factory=dict[str, int])
    notes: list[str] = field(default_factory=list[str])


def plan_corpus(settings: IconsConfig, cache: Path) -> CorpusPlan:
    """Choose the images.

    Raises:
        DataError: A package cannot be fetched or is not the pinned one.
    """
    archive = fetch_package(ICONIFY, cache)
    sets = iconify.read_icon_sets(archive)
    emoji_sets = {name: sets[name] for name in ICONIFY_EMOJI_STYLES}
    # The icons of the sets that are held in memory, as Iconify's JSON has them.
    loaded = {info.prefix: data for info, data in iconify.read_set_files(archive, emoji_sets)}
    table = build_emoji_table(loaded, cache)
    for info, data in read_extra_sets(settings.styles, cache, table.words):
        sets[info.prefix] = info
        loaded[info.prefix] = data
    choices = select_emoji(loaded, table, settings)
    common = style_coverage(choices)
    skipped: Counter[str] = Counter()
    if settings.icons_limit:
        choices += select_icons(
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
        sets[CLIPART_SET.prefix] = CLIPART_SET
        loaded[CLIPART_SET.prefix] = to_icon_set_json(found)
        choices += select_clipart(found, table, settings)
        if not found:
            notes.append(f"No clip art: {CLIPART_DIR} is not there ({INSTALL_COMMAND} brings it).")
    parts = _assign_splits(_read_images(choices, archive, sets, loaded), settings)
    return CorpusPlan(parts, sets, skipped, common, notes)


def _assign_splits(
    images: Iterable[tuple[SelectedIcon, CorpusImage]], settings: IconsConfig
) -> dict[str, list[CorpusImage]]:
    """The renders of every image, in the shuffled order of their parts."""
    parts: dict[str, list[CorpusImage]] = {part: [] for part in SPLITS if part in settings.parts}
    for choice, image in images:
        if choice.split not in parts:
            continue
        plain = choice.split != TRAIN
        parts[choice.split] += [
            replace(image, render_index=number, is_plain=plain)
            for number in range(choice.num_renders)
        ]
    for part, found in parts.items():
        Random(f"{settings.seed}/{part}").shuffle(found)
    return parts


def _read_images(
    choices: Iterable[SelectedIcon],
    archive: Path,
    sets: Mapping[str, IconSet],
    loaded: Mapping[str, Any],
) -> Iterator[tuple[SelectedIcon, CorpusImage]]:
    by_set: dict[str, list[SelectedIcon]] = defaultdict(list)
    for choice in choices:
        by_set[choice.icon_set].append(choice)
    held = [(sets[name], data) for name, data in loaded.items() if name in by_set]
    others = {name: sets[name] for name in by_set if name not in loaded}
    for info, data in chain(held, iconify.read_set_files(archive, others)):
        for choice in by_set[info.prefix]:
            image = CorpusImage(
                icon_id=f"{choice.icon_set}:{choice.name}",
                drawing=iconify.read_drawing(data, choice.name, is_coloured=info.is_coloured),
                concept=choice.concept,
                words=choice.words,
                style=choice.icon_set,
                category=choice.category,
                licence=info.licence,
            )
            yield choice, image
