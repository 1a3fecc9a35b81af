"""Retrieval: recall in both directions, and queries that went well and badly."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.report.bars import metric_bars
from twinlens.eval.report.images import Thumbnails, case, cases, thumbnail_row
from twinlens.html import part

if TYPE_CHECKING:
    from twinlens.eval.results.result import Example, Found, RetrievalResult


def retrieval_parts(result: RetrievalResult, thumbnails: Thumbnails) -> list[str]:
    """The parts of a section: figures, then examples with their images."""
    ways: dict[str, list[str]] = {}
    for metric in result.metrics:
        ways.setdefault(metric.partition("_")[0], []).append(metric)
    columns = "".join(f"<div>{metric_bars(result, metrics)}</div>" for metrics in ways.values())
    good = [one for one in result.examples if one.rank == 1]
    bad = sorted((one for one in result.examples if one.rank > 1), key=lambda one: -one.rank)
    return [
        part("Recall", f'<div class="columns">{columns}</div>'),
        part("Found at once", _examples(good, thumbnails), note=_EXAMPLES_NOTE if good else ""),
        part("Found late", _examples(bad, thumbnails)),
    ]


_EXAMPLES_NOTE = (
    "Each with what came first, the best on the left or on top; what is right is marked."
)


def _examples(examples: Sequence[Example], thumbnails: Thumbnails) -> str:
    """Texts that ask for images, then images that ask for texts."""
    by_text = [_example(one, thumbnails) for one in examples if one.text is not None]
    by_image = [_example(one, thumbnails) for one in examples if one.text is None]
    drawn = cases(*by_text) + cases(*by_image)
    return f'<div class="examples">{drawn}</div>' if drawn else ""


def _example(one: Example, thumbnails: Thumbnails) -> str:
    if one.text is not None:
        asked = f"<p><q>{escape(one.text)}</q>{_rank('Its image', one.rank)}</p>"
    else:
        assert one.place is not None  # a query is a text or an image
        image = thumbnails.image(one.place, "the query")
        asked = f'<div class="beside">{image}<p>{_rank("Its text", one.rank)}</p></div>'
    return case(asked, _images(one.found, thumbnails), _texts(one.found))


def _rank(what: str, rank: int) -> str:
    return f"<span>{what} came {'first' if rank == 1 else f'at rank {rank:,}'}</span>"


def _images(found: Sequence[Found], thumbnails: Thumbnails) -> str:
    images = [
        thumbnails.image(
            one.place, f"{'right' if one.right else 'wrong'}, {one.score:.3f}", right=one.right
        )
        for one in found
        if one.place is not None
    ]
    return thumbnail_row(*images) if images else ""


def _texts(found: Sequence[Found]) -> str:
    rows = [
        f'<li class="{"right" if one.right else "wrong"}"><span>{escape(one.text)}</span>'
        f"<b>{one.score:.3f}</b></li>"
        for one in found
        if one.text is not None
    ]
    return f'<ol class="texts">{"".join(rows)}</ol>' if rows else ""
