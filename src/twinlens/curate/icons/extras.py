"""Emoji styles that are not in the icon collection, put into the shape of its sets.

One is of images (Fluent's three-dimensional emoji), one of a font (Noto's line drawings).
"""

from __future__ import annotations

import base64
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from twinlens.curate.icons.concepts import characters, codepoints, kind
from twinlens.curate.icons.iconify import IconSet
from twinlens.curate.icons.sources import FLUENT_3D, NOTO_LINES, fetch, read_members
from twinlens.data.webdataset.shards import make_directory
from twinlens.files import whole_file

_FLUENT = IconSet(
    prefix="fluent-emoji-3d",
    name="Fluent Emoji 3D",
    author="Microsoft Corporation, packed by LobeHub",
    author_url="https://github.com/microsoft/fluentui-emoji",
    licence="MIT",
    licence_url="https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE",
    coloured=True,
    total=0,
)
_LINES = IconSet(
    prefix="noto-emoji-lines",
    name="Noto Emoji (font)",
    author="Google Inc",
    author_url="https://github.com/googlefonts/noto-emoji",
    licence="OFL-1.1",
    licence_url="https://openfontlicense.org",
    coloured=False,
    total=0,
)
EXTRA_EMOJI = (_FLUENT.prefix, _LINES.prefix)

_GENDERED = frozenset({"1f468", "1f469", "2640", "2642"})


def read_extras(
    styles: Container[str], cache: Path, known: Mapping[str, Any]
) -> Iterator[tuple[IconSet, dict[str, Any]]]:
    """Those of `styles` that are here, as Iconify sets, for the emoji in `known` (by concept)."""
    if _FLUENT.prefix in styles:
        yield _FLUENT, _fluent_3d(cache, known)
    if _LINES.prefix in styles:
        yield _LINES, _noto_lines(cache, known)


def _fluent_3d(cache: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """WebP images of 256 x 256 pixels, named by their code points."""
    icons: dict[str, dict[str, str]] = {}
    for name, data in read_members(fetch(FLUENT_3D, cache), "assets/", ".webp"):
        points = name.removeprefix("assets/").removesuffix(".webp").replace("_", "-")
        concept = codepoints(characters(points))
        if concept in known:
            href = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
            icons[concept] = {"body": f'<image width="256" height="256" href="{href}"/>'}
    return _as_set(icons, 256)


def _noto_lines(cache: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Glyphs of a font that draws men, women and persons alike: only the persons are taken."""
    ((_, font),) = read_members(fetch(NOTO_LINES, cache), "400Regular/", ".ttf")
    make_directory(cache)
    path = cache / "NotoEmoji-Regular.ttf"
    with whole_file(path) as file:
        file.write(font)
    icons: dict[str, dict[str, str]] = {}
    for concept in known:
        points = concept.split("-")
        if kind(concept) == "base" and not (len(points) > 1 and _GENDERED & set(points)):
            text = "".join(f"&#x{point};" for point in points)
            style = 'font-family="Noto Emoji" font-size="74" text-anchor="middle"'
            icons[concept] = {
                "body": f'<text x="50" y="76" {style} fill="currentColor">{text}</text>'
            }
    return {**_as_set(icons, 100), "font": str(path)}


def _as_set(icons: dict[str, dict[str, str]], side: int) -> dict[str, Any]:
    return {
        "icons": icons,
        "chars": {concept: concept for concept in icons},
        "width": side,
        "height": side,
    }
