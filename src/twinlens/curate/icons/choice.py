"""An icon that is in the corpus, before its drawing is read."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.curate.icons.concepts import ConceptWords
from twinlens.curate.icons.config import (
    TRAIN,
    UNSEEN_BOTH,
    UNSEEN_CONCEPTS,
    UNSEEN_STYLE,
    UNSEEN_STYLES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedIcon:
    """One icon.

    Attributes:
        icon_set: The icon set, which is also the style.
        name: The icon's name in it.
        concept: What it shows: code points or a cleaned name.
        is_emoji: Whether the concept is an emoji.
        split: The part of the corpus.
        num_renders: How often it is drawn.
    """

    icon_set: str
    name: str
    concept: str
    words: ConceptWords
    is_emoji: bool
    split: str
    category: str = ""
    num_renders: int = 1


def corpus_split(style: str, *, is_unseen: bool) -> str:
    """The part for a style and a concept that is held out or not."""
    if style == UNSEEN_STYLE:
        return UNSEEN_BOTH if is_unseen else UNSEEN_STYLES
    return UNSEEN_CONCEPTS if is_unseen else TRAIN
