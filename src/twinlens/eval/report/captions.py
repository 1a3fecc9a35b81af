"""Caption scores: their histogram, and the pairs that score worst."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from twinlens.eval.report.bars import metric_bars
from twinlens.eval.report.images import Thumbnails, card_grid
from twinlens.html import chart_row, histogram, subsection

if TYPE_CHECKING:
    from twinlens.eval.tasks.scores import CaptionScoreResult, ScoredPair

_MAX_PAIRS = 12


def caption_score_subsections(result: CaptionScoreResult, thumbnails: Thumbnails) -> list[str]:
    """The parts of a section: figures, a histogram, and the worst pairs with their images."""
    scores = np.array([pair.score for pair in result.pairs], np.float64)
    drawn = histogram(scores, title="Images by the score of their caption", x_label="CLIPScore")
    worst = (_pair_card(pair, thumbnails) for pair in result.pairs[:_MAX_PAIRS])
    return [
        subsection("Scores", metric_bars(result), chart_row(drawn)),
        subsection("The captions that fit worst", card_grid(*worst)),
    ]


def _pair_card(pair: ScoredPair, thumbnails: Thumbnails) -> str:
    image = thumbnails.thumbnail(pair.index, pair.key)
    return (
        f'<div class="case beside">{image}<p><q>{escape(pair.caption)}</q>'
        f"<span>{pair.score:.3f}</span></p></div>"
    )
