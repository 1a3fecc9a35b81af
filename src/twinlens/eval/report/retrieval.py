"""Retrieval: recall in both directions, and queries that went well and badly."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from twinlens.eval.report.bars import metric_bars
from twinlens.eval.report.images import Thumbnails, card, card_grid, thumbnail_row
from twinlens.html import subsection

if TYPE_CHECKING:
    from twinlens.eval.tasks.retrieval import RetrievalExample, RetrievalResult, RetrievedCandidate


def retrieval_subsections(result: RetrievalResult, thumbnails: Thumbnails) -> list[str]:
    """The parts of a section: figures, then examples with their images."""
    ways: dict[str, list[str]] = {}
    for metric in result.metrics:
        ways.setdefault(metric.partition("_")[0], []).append(metric)
    columns = "".join(f"<div>{metric_bars(result, metrics)}</div>" for metrics in ways.values())
    good = [one for one in result.examples if one.rank == 1]
    bad = sorted((one for one in result.examples if one.rank > 1), key=lambda one: -one.rank)
    return [
        subsection("Recall", f'<div class="columns">{columns}</div>'),
        subsection(
            "Found at once", _example_cards(good, thumbnails), note=_EXAMPLES_NOTE if good else ""
        ),
        subsection("Found late", _example_cards(bad, thumbnails)),
    ]


_EXAMPLES_NOTE = (
    "Each with what came first, the best on the left or on top; what is right is marked."
)


def _example_cards(examples: Sequence[RetrievalExample], thumbnails: Thumbnails) -> str:
    """Texts that ask for images, then images that ask for texts."""
    by_text = [_example_card(one, thumbnails) for one in examples if one.text is not None]
    by_image = [_example_card(one, thumbnails) for one in examples if one.text is None]
    drawn = card_grid(*by_text) + card_grid(*by_image)
    return f'<div class="examples">{drawn}</div>' if drawn else ""


def _example_card(one: RetrievalExample, thumbnails: Thumbnails) -> str:
    if one.text is not None:
        asked = f"<p><q>{escape(one.text)}</q>{_format_rank('Its image', one.rank)}</p>"
    else:
        assert one.index is not None  # a query is a text or an image
        image = thumbnails.thumbnail(one.index, "the query")
        asked = f'<div class="beside">{image}<p>{_format_rank("Its text", one.rank)}</p></div>'
    return card(
        asked, _image_candidates(one.candidates, thumbnails), _text_candidates(one.candidates)
    )


def _format_rank(what: str, rank: int) -> str:
    return f"<span>{what} came {'first' if rank == 1 else f'at rank {rank:,}'}</span>"


def _image_candidates(candidates: Sequence[RetrievedCandidate], thumbnails: Thumbnails) -> str:
    images = [
        thumbnails.thumbnail(
            one.index,
            f"{'right' if one.is_relevant else 'wrong'}, {one.score:.3f}",
            is_correct=one.is_relevant,
        )
        for one in candidates
        if one.index is not None
    ]
    return thumbnail_row(*images) if images else ""


def _text_candidates(candidates: Sequence[RetrievedCandidate]) -> str:
    rows = [
        f'<li class="{"right" if one.is_relevant else "wrong"}"><span>{escape(one.text)}</span>'
        f"<b>{one.score:.3f}</b></li>"
        for one in candidates
        if one.text is not None
    ]
    return f'<ol class="texts">{"".join(rows)}</ol>' if rows else ""
