"""Icon sets in Iconify's JSON format: which may be used, and their drawings.

The format: <https://iconify.design/docs/types/iconify-json.html>.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlens.curate.icons.names import split_words
from twinlens.curate.icons.sources import read_json_member, read_members

ALLOWED_LICENCES = split_words(
    "MIT MIT-0 ISC Apache-2.0 BSD-2-Clause BSD-3-Clause CC0-1.0 CC-BY-3.0 CC-BY-4.0 OFL-1.1 "
    "Unlicense 0BSD"
)
"""Permissive and attribution licences (SPDX), and OFL-1.1, which is reciprocal for fonts only.

Every other licence leaves its set out.
"""

ICONIFY_EMOJI_STYLES = (
    "noto",
    "noto-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fluent-emoji-high-contrast",
    "emojione",
    "emojione-monotone",
    "fxemoji",
    "streamline-emojis",
    "twemoji",
)
"""Sets whose drawings are emoji."""

_EXCLUDED_SETS = {
    "ri": "left out by name",
    "svg-spinners": "animations without a meaning",
    "line-md": "animations that begin empty",
    **dict.fromkeys(("cif", "circle-flags", "flag", "flagpack", "geo"), "flags and countries only"),
    **dict.fromkeys(
        split_words(
            "academicons bitcoin-icons catppuccin devicon devicon-plain fa-brands fa6-brands "
            "file-icons gcp k8s material-icon-theme skill-icons unjs vscode-icons"
        ),
        "mostly brands and product logos",
    ),
}


@dataclass(frozen=True, slots=True)
class IconSet:
    """The collection's entry of one set."""

    prefix: str
    name: str
    author: str
    author_url: str
    licence: str
    licence_url: str
    is_coloured: bool
    exclusion_reason: str = ""
    """The reason why it is left out; empty for a set that is used."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One SVG drawing: its body and the box it lies in.

    Attributes:
        is_coloured: Whether it has colours of its own; else it takes the foreground's.
        font: A font file that the body's text is set in.
        should_trim: Whether the box is to be cut to what is drawn (pages with a small drawing).
    """

    body: str
    left: float
    top: float
    width: float
    height: float
    rotate: int = 0
    h_flip: bool = False
    v_flip: bool = False
    is_coloured: bool = True
    font: str = ""
    should_trim: bool = False

    def svg_transform(self) -> str:
        """The SVG transform of `rotate` (quarter turns) and the flips; empty for none."""
        x, y = self.left + self.width / 2, self.top + self.height / 2
        parts = [f"rotate({90 * self.rotate} {x:g} {y:g})"] if self.rotate % 4 else []
        if self.h_flip or self.v_flip:
            sx, sy = (-1 if self.h_flip else 1), (-1 if self.v_flip else 1)
            parts.append(f"translate({x:g} {y:g}) scale({sx} {sy}) translate({-x:g} {-y:g})")
        return " ".join(parts)


def read_icon_sets(archive: Path) -> dict[str, IconSet]:
    """Every set of the collection by its prefix, with the reason of those left out."""
    return {
        prefix: _parse_icon_set(prefix, info)
        for prefix, info in read_json_member(archive, "collections.json").items()
    }


def _parse_icon_set(prefix: str, info: Mapping[str, Any]) -> IconSet:
    licence = info["license"].get("spdx", info["license"]["title"])
    author = info.get("author", {})
    return IconSet(
        prefix=prefix,
        name=info["name"],
        author=author.get("name", "unknown"),
        author_url=author.get("url", ""),
        licence=licence,
        licence_url=info["license"].get("url", ""),
        is_coloured=bool(info.get("palette")),
        exclusion_reason=_exclusion_reason(prefix, licence, info.get("category", "")),
    )


def _exclusion_reason(prefix: str, licence: str, category: str) -> str:
    if licence not in ALLOWED_LICENCES:
        return f"licence {licence}"
    if category == "Logos":
        return "logos and brands only"
    return _EXCLUDED_SETS.get(prefix, "")


def read_set_files(archive: Path, sets: Mapping[str, IconSet]) -> Iterator[tuple[IconSet, Any]]:
    """The JSON of every set that is not left out, in the archive's order."""
    for name, data in read_members(archive, "json/", ".json"):
        info = sets.get(name.removeprefix("json/").removesuffix(".json"))
        if info is not None and not info.exclusion_reason:
            yield info, json.loads(data)


def icon_names(data: Mapping[str, Any]) -> Iterator[str]:
    """Names of a set's icons and of the aliases that show another image (turned, flipped)."""
    for name, icon in data["icons"].items():
        if not icon.get("hidden"):
            yield name
    for name, alias in data.get("aliases", {}).items():
        turned = any(alias.get(key) for key in ("rotate", "hFlip", "vFlip"))
        if turned and not alias.get("hidden") and alias["parent"] in data["icons"]:
            yield name


def renaming_aliases(data: Mapping[str, Any]) -> dict[str, str]:
    """Aliases that only rename: alias to the icon it stands for."""
    aliases: dict[str, dict[str, Any]] = data.get("aliases", {})
    return {
        name: alias["parent"]
        for name, alias in aliases.items()
        if set(alias) <= {"parent", "hidden"} and alias["parent"] in data["icons"]
    }


def read_drawing(data: Mapping[str, Any], name: str, *, is_coloured: bool) -> Drawing:
    """One icon's drawing; an alias takes its parent's body and adds its own turns and flips."""
    icons: Mapping[str, dict[str, Any]] = data["icons"]
    alias: dict[str, Any] = {} if name in icons else data["aliases"][name]
    icon = icons[alias.get("parent", name)]

    def value(key: str, default: Any) -> Any:
        return alias.get(key, icon.get(key, data.get(key, default)))

    return Drawing(
        body=icon["body"],
        left=value("left", 0),
        top=value("top", 0),
        width=value("width", 16),
        height=value("height", 16),
        rotate=icon.get("rotate", 0) + alias.get("rotate", 0),
        h_flip=bool(icon.get("hFlip")) != bool(alias.get("hFlip")),
        v_flip=bool(icon.get("vFlip")) != bool(alias.get("vFlip")),
        is_coloured=is_coloured and not _MONOCHROME.search(icon["body"]),
        font=data.get("font", ""),
        should_trim=data.get("trim", False),
    )


_MONOCHROME = re.compile(r"^(?!.*#[0-9a-fA-F]{3}).*currentColor", re.S)
"""A body that has currentColor and no colour of its own."""
