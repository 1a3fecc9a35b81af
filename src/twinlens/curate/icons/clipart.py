"""Drawings of the Open Clip Art Library as Debian packages them: public domain, with keywords."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlens.curate.icons.iconify import Drawing, IconSet
from twinlens.curate.icons.names import split_words

CLIPART_DIR = Path("/usr/share/openclipart/svg")
INSTALL_COMMAND = "apt-get install openclipart-svg"

CLIPART_SET = IconSet(
    prefix="openclipart",
    name="Open Clip Art Library",
    author="many, named in each file",
    author_url="https://openclipart.org",
    licence="CC0-1.0",
    licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
    is_coloured=True,
)

_EXCLUDED_PATHS = re.compile(
    r"^(logos|special|geography|unsorted|buttons)/|flags/|/cards/|shapes/(stars|jigsaw)|"
    r"computer/icons/.*theme|hummers/|boating_rules"
)
_MAX_BYTES = 300_000
_MAX_TITLE_USES = 3
"""A title on more files than this names a collection, not an image."""

_GENERIC_WORDS = split_words(
    """animal animals bird birds clip art clipart colour contour drawing food hash icon icons image
    insect mammal mammals office people plant plants shape shapes sign signs symbol symbols tool
    tools transport transportation vector unsorted signs_and_symbols line art cartoon education
    computer recreation buildings electronics"""
)


@dataclass(frozen=True, slots=True)
class Clipart:
    """One drawing with its words."""

    name: str
    title: str
    keywords: tuple[str, ...]
    category: str
    drawing: Drawing
    italian_title: str = ""
    """The title, where it is Italian; then `title` is an English keyword."""


def list_files(folder: Path = CLIPART_DIR) -> list[tuple[str, int]]:
    """Every drawing's path and size: tells one release of the package from another."""
    return [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*.svg"))
    ]


def read_clipart(folder: Path = CLIPART_DIR) -> list[Clipart]:
    """The usable drawings, in the order of their paths; none if the package is not installed."""
    texts = dict(_usable_files(folder))
    titles = Counter(_element_text(text, "dc:title") for text in texts.values())
    found = (_parse_clipart(path, text, titles) for path, text in texts.items())
    return [each for each in found if each is not None]


def to_icon_set_json(cliparts: Iterable[Clipart]) -> dict[str, Any]:
    """The drawings in the shape of an Iconify set."""
    icons = {
        each.name: {
            "body": each.drawing.body,
            "width": each.drawing.width,
            "height": each.drawing.height,
        }
        for each in cliparts
    }
    return {"icons": icons, "trim": True}


def _usable_files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.svg")):
        name = path.relative_to(folder).as_posix()
        small = not path.is_symlink() and path.stat().st_size <= _MAX_BYTES
        if small and not _EXCLUDED_PATHS.search(name):
            text = path.read_text(encoding="utf-8", errors="replace")
            if "PublicDomain" in text and "<!ENTITY" not in text:
                yield name, text


def _parse_clipart(path: str, text: str, titles: Counter[str]) -> Clipart | None:
    drawing = _parse_drawing(text)
    author = _element_text(text, "dc:creator").lower()
    title = _element_text(text, "dc:title")
    keywords = tuple(word for word in _read_keywords(text) if word not in author)
    if titles[title] > _MAX_TITLE_USES or " by " in title or title.lower() == author:
        title = _title_from_path(path)
    title = _strip_author(_clean_title(title), author)
    italian = ""
    if "architett" in author:  # one prolific author titled in Italian and tagged in English
        italian, title = title, next((word for word in keywords if word not in _GENERIC_WORDS), "")
    if drawing is None or not _is_readable(title):
        return None
    category = path.partition("/")[0].replace("_", " ")
    name = path.removesuffix(".svg")
    return Clipart(name, title, keywords, category, drawing, italian)


def _element_text(text: str, tag: str) -> str:
    found = re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.S)
    return html.unescape(re.sub(r"<[^>]*>", " ", found[1])).strip() if found else ""


def _read_keywords(text: str) -> tuple[str, ...]:
    subject = re.search(r"<dc:subject>(.*?)</dc:subject>", text, re.S)
    items = re.findall(r"<rdf:li>([^<]*)</rdf:li>", subject[1]) if subject else []
    words = (html.unescape(item).strip().lower().replace("_", " ") for item in items)
    return tuple(dict.fromkeys(word for word in words if _is_readable(word) and word != "hash"))


def _title_from_path(path: str) -> str:
    stem = path.rpartition("/")[2].removesuffix(".svg")
    return re.sub(r"^(aiga|contour|w|sm|etiquette|gnome.fs|gnome.mime|hotel_icon)[_-]", "", stem)


def _strip_author(title: str, author: str) -> str:
    """Drop the author's name, cut short as file names cut it, from the end of a title.

    Example:
        >>> _strip_author("bullet hole linda ki", "linda kim")
        'bullet hole'
    """
    words, names = title.split(), author.split()
    while len(words) > 1 and any(name.startswith(words[-1]) for name in names):
        words.pop()
    return " ".join(words)


def _clean_title(title: str) -> str:
    """Lower case words without numbers: "Bored_dog 01" becomes "bored dog"."""
    words = re.split(r"[\s_.,;/()-]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title))
    return " ".join(word.lower() for word in words if word.isalpha())


def _is_readable(title: str) -> bool:
    return (
        len(title) > 2 and len(title.split()) <= 6 and bool(re.fullmatch(r"[^\W\d][\w '-]*", title))
    )


_LENGTH = re.compile(r"\s*([\d.]+)\s*(px|pt|mm|cm|in)?\s*")


def _parse_drawing(text: str) -> Drawing | None:
    """The file's SVG element as a drawing, or None if its size is not stated plainly."""
    start = re.search(r"<svg\b[^>]*>", text)
    if start is None:
        return None
    tag = start[0]
    box = _parse_view_box(tag)
    if box is None:
        return None
    left, top, width, height = box
    tag = re.sub(r"""\s(width|height|viewBox|x|y)\s*=\s*("[^"]*"|'[^']*')""", "", tag)
    view = f'width="{width:g}" height="{height:g}" viewBox="{left:g} {top:g} {width:g} {height:g}"'
    tag = tag.replace("<svg", f"<svg {view}", 1)
    body = tag + re.sub(r"<metadata.*?</metadata>", "", text[start.end() :], flags=re.S)
    return Drawing(body, 0, 0, width, height, should_trim=True)


def _parse_view_box(tag: str) -> tuple[float, float, float, float] | None:
    view = re.search(r"""\bviewBox\s*=\s*["']([^"']*)["']""", tag)
    if view is not None:
        numbers = [float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", view[1])]
        if len(numbers) == 4 and min(numbers[2:]) > 0:
            return numbers[0], numbers[1], numbers[2], numbers[3]
    sides: list[float] = []
    for name in ("width", "height"):
        value = re.search(rf"""\s{name}\s*=\s*["']([^"'%]*)["']""", tag)
        number = _LENGTH.fullmatch(value[1]) if value else None
        if number is None or float(number[1]) <= 0:
            return None
        units = {"pt": 4 / 3, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
        sides.append(float(number[1]) * units.get(number[2] or "px", 1.0))
    return 0.0, 0.0, sides[0], sides[1]
