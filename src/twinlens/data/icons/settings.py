"""What the builder can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.data.icons.iconify import EMOJI_SETS
from twinlens.errors import ConfigError, UnknownNameError


@dataclass(frozen=True, slots=True, kw_only=True)
class IconsSettings:
    """Size and choice of the corpus; the same settings give the same bytes.

    Attributes:
        size: Side of the pictures, pixels.
        seed: Decides every lot: choices, order, backgrounds, captions.
        icons_limit: Most pictures from sets that are not emoji; 0 for emoji alone.
        emoji_renders: How often each emoji is drawn for training, each time on another background.
        styles: The emoji sets used.
        icons_per_concept: Most pictures of one icon concept.
        emoji_icons: Most pictures from icon sets of a concept that is an emoji.
        variants: Most drawings of one emoji in one set (some sets have two).
        tones: Most skin-tone variants of one emoji in one set.
        flags: Most flags of countries and regions.
        unseen_pictures: Most pictures from icon sets of one held-out concept.
        clipart: Use Debian's openclipart drawings where they are installed.
        quality: Of the WebP pictures, 1 to 100.
        samples_per_shard: Pictures a tar.
    """

    size: int = 72
    seed: int = 0
    icons_limit: int = 100_000
    emoji_renders: int = 4
    styles: tuple[str, ...] = EMOJI_SETS
    icons_per_concept: int = 12
    emoji_icons: int = 24
    variants: int = 3
    tones: int = 1
    flags: int = 60
    unseen_pictures: int = 4
    clipart: bool = True
    quality: int = 90
    samples_per_shard: int = 2048

    def __post_init__(self) -> None:
        _require_between("size", self.size, 16, 1024)
        _require_between("quality", self.quality, 1, 100)
        _require_between("samples_per_shard", self.samples_per_shard, 1, 10_000)
        for name in ("icons_limit", "emoji_renders", "tones", "flags"):
            _require_between(name, getattr(self, name), 0, 10_000_000)
        for style in self.styles:
            if style not in EMOJI_SETS:
                raise UnknownNameError("emoji style", style, EMOJI_SETS)


def _require_between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: got {value}, expected {low} to {high}")
