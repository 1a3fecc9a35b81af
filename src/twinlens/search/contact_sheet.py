"""Search results as a contact sheet: one page of thumbnails that needs nothing beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from twinlens.errors import DataError
from twinlens.html import format_percent, render_page, section
from twinlens.images.data_uri import image_data_uri

if TYPE_CHECKING:
    from twinlens.types import ImageInput

_RESULT_SIZE, _QUERY_SIZE = 240, 320
"""Pixels of the longer side: of a result, and of an image that was searched with."""

_QUALITY = 75
"""A page holds hundreds of thumbnails."""

_NOT_IN_HTML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that no page may hold, nor UTF-8: file names are bytes, which need not be text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetResult:
    """An image that was found.

    Attributes:
        path: Its file.
        score: The cosine of its features and the query's.
        probability: That it matches the query, where the search gives one.
        metadata: Further lines by their names, such as its date.
    """

    path: Path
    score: float
    probability: float | None = None
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetSection:
    """A query and its results, best first.

    Attributes:
        text: The words of the query, if it has any.
        image: The file of the image that was searched with, if there is one.
        results: The images that were found.
    """

    text: str = ""
    image: Path | None = None
    results: Sequence[SheetResult] = ()


_FrameOf = Callable[[Path], str]


def contact_sheet(
    title: str,
    sections: Sequence[SheetSection],
    read_image: Callable[[str], ImageInput] = Path,
) -> str:
    """A page that shows what was found for each query.

    An image that cannot be read any more has the reason in its place. Names of any bytes can be
    shown: what is no text in them is replaced.

    Args:
        title: The page's.
        sections: The queries and what they found.
        read_image: Takes a result's path and gives its image, where that is no file of its own.

    Example:
        >>> page = contact_sheet("Search", [SheetSection(text="a red kite")])
        >>> "Nothing matches." in page
        True
    """
    # An image that several queries found is decoded once.
    frame_of = cache(partial(_frame, read_image))
    headings = list(map(_heading, sections))
    parts = [
        section(
            heading,
            _query_image(one),
            _result_list(one.results, frame_of),
            note=_count(len(one.results), "image") if one.results else "",
            anchor=f"query-{number}",
        )
        for number, (heading, one) in enumerate(zip(headings, sections, strict=True), start=1)
    ]
    num_results = sum(len(one.results) for one in sections)
    queries = _count(len(sections), "query", "queries")
    return render_page(
        _clean(title), f"{queries}, {_count(num_results, 'result')}.", _contents(headings), *parts
    )


def _contents(headings: Sequence[str]) -> str:
    """Links to the sections, where there are several."""
    links = (
        f'<li><a href="#query-{number}">{escape(heading)}</a></li>'
        for number, heading in enumerate(headings, start=1)
    )
    listed = f'<nav aria-label="Queries"><ol class="plain queries">{"".join(links)}</ol></nav>'
    return listed if len(headings) > 1 else ""


def _heading(one: SheetSection) -> str:
    text = _clean(one.text).strip()
    if one.image is None:
        return text or "A query without words"
    name = _clean(one.image.name)
    return f"{text}, and images like {name}" if text else f"Images like {name}"


def _query_image(one: SheetSection) -> str:
    if one.image is None:
        return ""
    name = _clean(one.image.name)
    try:
        source = image_data_uri(one.image, _QUERY_SIZE, name=name)
    except DataError as error:
        return f'<p class="empty">The image of the query: {escape(_reason(error, name))}.</p>'
    return f'<img class="query" src="{source}" alt="The image of the query, {escape(name)}">'


def _result_list(results: Sequence[SheetResult], frame_of: _FrameOf) -> str:
    if not results:
        return '<p class="empty">Nothing matches.</p>'
    cards = (_card(one, frame_of(one.path)) for one in results)
    # Without the role, a list that has no marks is none to some screen readers.
    return f'<ol class="sheet" role="list">{"".join(cards)}</ol>'


def _frame(read_image: Callable[[str], ImageInput], path: Path) -> str:
    """The thumbnail, or the reason why there is none."""
    name = _clean(path.name)
    try:
        source = image_data_uri(read_image(str(path)), _RESULT_SIZE, quality=_QUALITY, name=name)
    except DataError as error:
        return f'<div class="frame"><p>{escape(_reason(error, name))}</p></div>'
    return f'<div class="frame"><img src="{source}" alt="{escape(name)}" decoding="async"></div>'


def _reason(error: DataError, name: str) -> str:
    """The middle of a message: neither the name before it nor what would have been right."""
    return _clean(str(error).removeprefix(f"{name}: ").partition(", expected ")[0])


def _card(one: SheetResult, frame: str) -> str:
    path = escape(_clean(str(one.path)))
    score = f"{one.score:.3f}" if math.isfinite(one.score) else "unknown"
    return (
        f'<li class="hit">{frame}<h3 title="{path}"><bdi>{escape(_clean(one.path.name))}</bdi></h3>'
        f'<p class="score">cosine <b>{score}</b></p>'
        f"{_probability_bar(one.probability)}{_metadata_list(one.metadata)}</li>"
    )


def _probability_bar(probability: float | None) -> str:
    if probability is None or not math.isfinite(probability):
        return ""
    share = min(max(probability, 0.0), 1.0)
    return (
        '<p class="probability"><span class="track" aria-hidden="true">'
        f'<i class="bar" style="width:{100 * share:.1f}%"></i></span>'
        f"<b>{format_percent(share)}</b></p>"
    )


def _metadata_list(metadata: Mapping[str, object]) -> str:
    rows = (
        f"<div><dt>{escape(_clean(name))}</dt><dd>{escape(_clean(str(value)))}</dd></div>"
        for name, value in metadata.items()
    )
    return f"<dl>{''.join(rows)}</dl>" if metadata else ""


def _clean(text: str) -> str:
    return _NOT_IN_HTML.sub("\ufffd", text)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
