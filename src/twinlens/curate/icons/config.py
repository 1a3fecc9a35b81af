"""The settings of the corpus builder."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.curate.icons.extras import EXTRA_EMOJI_STYLES
from twinlens.curate.icons.iconify import ICONIFY_EMOJI_STYLES
from twinlens.errors import MAX_SEED, require_in_range, require_known

EMOJI_STYLES = (*ICONIFY_EMOJI_STYLES, *EXTRA_EMOJI_STYLES)
UNSEEN_STYLE = "twemoji"
"""The style that no training image has."""

TRAIN, UNSEEN_CONCEPTS, UNSEEN_STYLES, UNSEEN_BOTH = SPLITS = (
    "train",
    "unseen-concepts",
    "unseen-style",
    "unseen-both",
)

_COUNT_FIELDS = (
    "icons_limit",
    "emoji_renders",
    "icons_per_concept",
    "emoji_icons",
    "variants",
    "tones",
    "flags",
    "unseen_images",
    "clipart_renders",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IconsConfig:
    """Size and choice of the corpus; the same settings give the same bytes.

    Attributes:
        size: Side of the images, pixels.
        seed: Decides every lot: choices, order, backgrounds, captions.
        icons_limit: Most images from sets that are not emoji; 0 for emoji alone.
        emoji_renders: How often each emoji is drawn for training, each time on another background.
        styles: The emoji sets used.
        icons_per_concept: Most images of one icon concept.
        emoji_icons: Most images from icon sets of a concept that is an emoji.
        variants: Most drawings of one emoji in one set (some sets have two).
        tones: Most skin-tone variants of one emoji in one set.
        flags: Most flags of countries and regions.
        unseen_images: Most images from icon sets of one held-out concept.
        clipart: Use Debian's openclipart drawings where they are installed.
        clipart_renders: How often each of them is drawn for training.
        quality: Of the WebP images, 1 to 100.
        samples_per_shard: Images a tar.
        categories: Emoji categories used; empty for all.
        parts: Which parts of the corpus are drawn.
        compact: Leave out what small demos do not need: names in other languages, the txt member.
    """

    size: int = 72
    seed: int = 0
    icons_limit: int = 100_000
    emoji_renders: int = 4
    styles: tuple[str, ...] = EMOJI_STYLES
    icons_per_concept: int = 12
    emoji_icons: int = 24
    variants: int = 3
    tones: int = 1
    flags: int = 60
    unseen_images: int = 4
    clipart: bool = True
    clipart_renders: int = 2
    quality: int = 90
    samples_per_shard: int = 2048
    categories: tuple[str, ...] = ()
    parts: tuple[str, ...] = SPLITS
    compact: bool = False

    def __post_init__(self) -> None:
        require_in_range("seed", self.seed, 0, MAX_SEED)
        require_in_range("size", self.size, 16, 1024)
        require_in_range("quality", self.quality, 1, 100)
        require_in_range("samples_per_shard", self.samples_per_shard, 1, 10_000)
        for name in _COUNT_FIELDS:
            require_in_range(name, getattr(self, name), 0, 10_000_000)
        for style in self.styles:
            require_known("emoji style", style, EMOJI_STYLES)
        for part in self.parts:
            require_known("part of the corpus", part, SPLITS)


def small_config() -> IconsConfig:
    """The ready shards in the package: animals, food, things and places in four styles and one."""
    return IconsConfig(
        size=64,
        icons_limit=0,
        emoji_renders=1,
        styles=("noto", "noto-v1", "fluent-emoji-flat", "emojione", UNSEEN_STYLE),
        variants=1,
        tones=0,
        flags=0,
        clipart=False,
        quality=60,
        samples_per_shard=4096,
        categories=(
            "activities",
            "animals & nature",
            "food & drink",
            "objects",
            "travel & places",
        ),
        parts=(TRAIN, UNSEEN_STYLES),
        compact=True,
    )


PRESETS = {"full": IconsConfig, "small": small_config}
"""Configurations by name: `full` is the corpus that the embedded model learns from."""
