"""How well captions fit their images: how the scores are spread, and the worst pairs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from twinlens.eval.report.bars import metric_bars
from twinlens.eval.report.images import Thumbnails, cases
from twinlens.html import charts, histogram, part

if TYPE_CHECKING:
    from twinlens.eval.results.result import ScoredPair, ScoresResult

_SHOWN = 12


def captions_parts(result: ScoresResult, thumbnails: Thumbnails) -> list[str]:
    """The parts of a section: figures, a histogram, and the worst pairs with their images."""
    scores = np.array([pair.score for pair in result.pairs], np.float64)
    drawn = histogram(scores, title="Images by the score of their caption", x_label="CLIPScore")
    worst = (_pair(pair, thumbnails) for pair in result.pairs[:_SHOWN])
    return [
        part("Scores", metric_bars(result), charts(drawn)),
        part("The captions that fit worst", cases(*worst)),
    ]


def captions_notes(result: ScoresResult) -> list[str]:
    """What is to be known beside the figures."""
    cut = result.cut_texts
    return [f"Captions longer than the model reads, cut: {cut:,}"] if cut else []


def _pair(pair: ScoredPair, thumbnails: Thumbnails) -> str:
    image = thumbnails.image(pair.place, pair.key)
    return (
        f'<div class="case beside">{image}<p><q>{escape(pair.caption)}</q>'
        f"<span>{pair.score:.3f}</span></p></div>"
    )
