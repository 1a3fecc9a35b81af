"""An icon that is in the corpus, before its drawing is read."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.curate.icons.concepts import Words
from twinlens.curate.icons.config import (
    TRAIN,
    UNSEEN_BOTH,
    UNSEEN_CONCEPTS,
    UNSEEN_STYLE,
    UNSEEN_STYLES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One icon.

    Attributes:
        set: The icon set, which is also the style.
        name: The icon's name in it.
        concept: What it shows: code points or a cleaned name.
        emoji: Whether the concept is an emoji.
        part: The part of the corpus.
        renders: How often it is drawn.
    """

    set: str
    name: str
    concept: str
    words: Words
    emoji: bool
    part: str
    category: str = ""
    renders: int = 1


def part_of(style: str, *, unseen: bool) -> str:
    """The part for a style and a concept that is held out or not."""
    if style == UNSEEN_STYLE:
        return UNSEEN_BOTH if unseen else UNSEEN_STYLES
    return UNSEEN_CONCEPTS if unseen else TRAIN
