"""Emoji styles that are not in the icon collection, put into the shape of its sets.

One is of images (Fluent's three-dimensional emoji), one of a font (Noto's line drawings).
"""

from __future__ import annotations

import base64
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from twinlens.curate.icons.concepts import emoji_kind, from_codepoints, to_codepoints
from twinlens.curate.icons.iconify import IconSet
from twinlens.curate.icons.sources import FLUENT_3D, NOTO_EMOJI_FONT, fetch_package, read_members
from twinlens.data.webdataset.shards import make_directory
from twinlens.files import atomic_file

_FLUENT_3D_SET = IconSet(
    prefix="fluent-emoji-3d",
    name="Fluent Emoji 3D",
    author="Microsoft Corporation, packed by LobeHub",
    author_url="https://github.com/microsoft/fluentui-emoji",
    licence="MIT",
    licence_url="https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE",
    is_coloured=True,
)
_NOTO_LINES_SET = IconSet(
    prefix="noto-emoji-lines",
    name="Noto Emoji (font)",
    author="Google Inc",
    author_url="https://github.com/googlefonts/noto-emoji",
    licence="OFL-1.1",
    licence_url="https://openfontlicense.org",
    is_coloured=False,
)
EXTRA_EMOJI_STYLES = (_FLUENT_3D_SET.prefix, _NOTO_LINES_SET.prefix)

_GENDER_CODEPOINTS = frozenset({"1f468", "1f469", "2640", "2642"})


def read_extra_sets(
    styles: Container[str], cache: Path, known: Mapping[str, Any]
) -> Iterator[tuple[IconSet, dict[str, Any]]]:
    """Those of `styles` that are here, as Iconify sets, for the emoji in `known` (by concept)."""
    if _FLUENT_3D_SET.prefix in styles:
        yield _FLUENT_3D_SET, _read_fluent_3d(cache, known)
    if _NOTO_LINES_SET.prefix in styles:
        yield _NOTO_LINES_SET, _read_noto_lines(cache, known)


def _read_fluent_3d(cache: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """WebP images of 256 x 256 pixels, named by their code points."""
    icons: dict[str, dict[str, str]] = {}
    for name, data in read_members(fetch_package(FLUENT_3D, cache), "assets/", ".webp"):
        points = name.removeprefix("assets/").removesuffix(".webp").replace("_", "-")
        concept = to_codepoints(from_codepoints(points))
        if concept in known:
            href = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
            icons[concept] = {"body": f'<image width="256" height="256" href="{href}"/>'}
    return _to_icon_set_json(icons, 256)


def _read_noto_lines(cache: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Glyphs of a font that draws men, women and persons alike: only the persons are taken."""
    ((_, font),) = read_members(fetch_package(NOTO_EMOJI_FONT, cache), "400Regular/", ".ttf")
    make_directory(cache)
    path = cache / "NotoEmoji-Regular.ttf"
    with atomic_file(path) as file:
        file.write(font)
    icons: dict[str, dict[str, str]] = {}
    for concept in known:
        points = concept.split("-")
        if emoji_kind(concept) == "base" and not (
            len(points) > 1 and _GENDER_CODEPOINTS & set(points)
        ):
            text = "".join(f"&#x{point};" for point in points)
            style = 'font-family="Noto Emoji" font-size="74" text-anchor="middle"'
            icons[concept] = {
                "body": f'<text x="50" y="76" {style} fill="currentColor">{text}</text>'
            }
    return {**_to_icon_set_json(icons, 100), "font": str(path)}


def _to_icon_set_json(icons: dict[str, dict[str, str]], side: int) -> dict[str, Any]:
    return {
        "icons": icons,
        "chars": {concept: concept for concept in icons},
        "width": side,
        "height": side,
    }
