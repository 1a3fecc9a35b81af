"""The fit of a calibration: matching pairs against pairs that do not match.

- Texts that match nothing are a shipped list of background texts. Their best images give the
  distribution of the best cosine under the null hypothesis, with the maximum over all images in it.
- Texts that match are the captions of images, where the collection has some. They also say what
  the collection has images of, so the similarity of a query to the nearest known caption is a
  second feature. Logistic regression weighs the two, as Platt calibrates scores (1999). A third
  kind of pair keeps it from trusting known words alone: a caption and the best of the images that
  have other captions.
- The cut-off is where 3% of the background texts pass: a test at a fixed false positive rate, as
  Neyman and Pearson have it. Without captions that is all there is.
- For images the null distribution is that of pairs of images drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from twinlens.search.logistic import fit_logistic

if TYPE_CHECKING:
    from twinlens.types import Embeddings

FALSE_POSITIVE_RATE = 0.03
"""Share of background texts that may pass: of 531, the 95% bound of the true share is below 5%."""

PAIR_FALSE_POSITIVE_RATE = 0.01
"""Share of random pairs of images that may pass: some of them do show the same."""

KNOWN_NUMBERS = 2**20
"""Numbers in the vectors of known captions: 2 MB in the file, and 0.3 ms a query."""

CAPTIONS = 1000
"""Captioned images that are drawn to fit to."""

FEWEST_CAPTIONS = 20
"""With fewer captioned images there is too little to fit to."""

_ALIKE = 0.1
"""Share of the pairs of captions that may mean the same; half or a fiftieth give like results."""

_SMALLEST_SPREAD = 1e-3
"""Of cosines that are all equal, as those of a single image."""

_PAIRED_ROWS = 2048
_ROWS_AT_ONCE = 16_384
_ROWS_OF_A_CAPTION = 1000


class TextEmbedder(Protocol):
    """A model that embeds texts, as `Embedder` does."""

    def embed_texts(self, texts: Sequence[str], *, truncate: bool = False) -> Embeddings:
        """Unit vectors float32 [text, width]."""
        ...


class TextFit(NamedTuple):
    """Log-odds of a text query: `slope * cosine + known * nearest caption + bias`.

    Results below `odds` are dropped.
    """

    slope: float
    known: float
    bias: float
    odds: float


class Threshold(NamedTuple):
    """A cosine where the probability is one half, and the slope of the log-odds there."""

    cosine: float
    slope: float


def background_texts() -> list[str]:
    """The shipped texts that hardly any image shows."""
    text = files("twinlens").joinpath("assets", "background", "texts.txt").read_text("utf-8")
    return text.splitlines()


class BackgroundScores(NamedTuple):
    """Vectors of the background texts, and the best cosine of each over a collection."""

    texts: Float32[np.ndarray, "text width"]
    best: Float32[np.ndarray, " text"]


def score_background(
    vectors: Float32[np.ndarray, "row width"],
    live: Bool[np.ndarray, " row"],
    texts: Float32[np.ndarray, "text width"],
) -> tuple[BackgroundScores, Float32[np.ndarray, " width"]]:
    """Score the background texts on the live rows, and take the mean of those: one pass."""
    best = np.full(len(texts), -1, np.float32)
    total = np.zeros(vectors.shape[1], np.float64)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        some = np.asarray(vectors[rows])[live[rows]]
        if len(some):
            best = np.maximum(best, (some @ texts.T).max(0))
            total += some.sum(0, dtype=np.float64)
    return BackgroundScores(texts, best), (total / live.sum()).astype(np.float32)


def fit_null(best: Float32[np.ndarray, " text"]) -> TextFit:
    """Fit to the best cosines of background texts alone."""
    cosine, slope = _null_threshold(best, FALSE_POSITIVE_RATE)
    return TextFit(slope, 0.0, -slope * cosine, 0.0)


def fit_image_pairs(
    vectors: Float32[np.ndarray, "row width"],
    rows: Int64[np.ndarray, " live"],
    rng: np.random.Generator,
) -> Threshold:
    """Fit to the cosines of pairs of different images of a sample."""
    if len(rows) > _PAIRED_ROWS:
        rows = np.sort(rng.choice(rows, _PAIRED_ROWS, replace=False))
    if len(rows) == 1:
        return Threshold(0.5, float(np.log(1 / PAIR_FALSE_POSITIVE_RATE - 1)))  # no pairs: a guess
    sample = np.asarray(vectors[rows])
    cosines = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    return _null_threshold(cosines, PAIR_FALSE_POSITIVE_RATE)


def _null_threshold(cosines: Float32[np.ndarray, " n"], rate: float) -> Threshold:
    """The cosine that a share `rate` of a null distribution passes.

    Without positives there is no slope to fit: the probability is one half there, and `rate` at
    the median of the null distribution.
    """
    middle, cosine = np.quantile(cosines.astype(np.float64), [0.5, 1 - rate])
    spread = max(float(cosine - middle), _SMALLEST_SPREAD)
    return Threshold(float(cosine), float(np.log(1 / rate - 1)) / spread)


@dataclass(frozen=True, slots=True)
class CaptionedRows:
    """The rows that have each caption."""

    rows: dict[str, list[int]]

    @classmethod
    def find(
        cls, captions: Sequence[str | None], rows: Int64[np.ndarray, " live"]
    ) -> CaptionedRows:
        """Find the captions that are not empty, among the live rows."""
        found: dict[str, list[int]] = {}
        for row in rows.tolist():
            if text := (captions[row] or "").strip():
                found.setdefault(text, []).append(row)
        return cls(found)

    def draw(self, rng: np.random.Generator) -> tuple[list[str], list[int]]:
        """Images drawn at random: their captions and rows."""
        texts = list(self.rows)
        ends = np.cumsum([0, *map(len, self.rows.values())])
        places = rng.choice(ends[-1], min(CAPTIONS, ends[-1]), replace=False)
        numbers = np.searchsorted(ends, places, side="right") - 1
        drawn = [texts[number] for number in numbers]
        inside = (places - ends[numbers]).tolist()
        return drawn, [self.rows[text][place] for text, place in zip(drawn, inside, strict=True)]

    def most_frequent(self, count: int, rng: np.random.Generator) -> list[str]:
        """The captions of most images; of equally frequent ones some, drawn at random."""
        texts = list(self.rows)
        shuffled = [texts[place] for place in rng.permutation(len(texts))]
        return sorted(shuffled, key=self._frequency, reverse=True)[:count]

    def _frequency(self, text: str) -> int:
        return len(self.rows[text])


def fit_captions(
    vectors: Float32[np.ndarray, "row width"],
    embedder: TextEmbedder,
    captioned: CaptionedRows,
    null: BackgroundScores,
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "known width"], TextFit] | None:
    """Fit to captions against background texts.

    Returns:
        Vectors of the known captions, and the fit; None if there are too few captions, or the model
        does not tell captions of images from other texts.
    """
    if sum(map(len, captioned.rows.values())) < FEWEST_CAPTIONS:
        return None
    drawn, rows = captioned.draw(rng)
    texts = captioned.most_frequent(KNOWN_NUMBERS // vectors.shape[1], rng)
    # As the file holds them, so that a calibration answers the same when it was loaded.
    known = embedder.embed_texts(texts, truncate=True).astype(np.float16).astype(np.float32)
    queries = embedder.embed_texts(drawn, truncate=True)
    # A caption that one image alone has would find itself: a query does not have that help.
    place = {text: n for n, text in enumerate(texts) if len(captioned.rows[text]) == 1}
    nearest = _nearest(queries, known, [place.get(text, -1) for text in drawn])
    matching = [
        float((np.asarray(vectors[captioned.rows[text][:_ROWS_OF_A_CAPTION]]) @ query).max())
        for text, query in zip(drawn, queries, strict=True)
    ]
    unlike, there = _best_unlike(np.asarray(vectors[rows]), queries, drawn)
    fit = _fit_text(
        np.column_stack([matching, nearest]),
        np.column_stack([unlike, nearest])[there],
        np.column_stack([null.best, _nearest(null.texts, known)]),
    )
    if fit is None:
        return None
    return known if fit.known else known[:0], fit


def _best_unlike(
    images: Float32[np.ndarray, "n width"],
    captions: Float32[np.ndarray, "n width"],
    texts: Sequence[str],
) -> tuple[Float32[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The best cosine of each caption and an image that surely shows something else.

    Of two captions that are among the tenth of all pairs that are most alike, each may describe the
    other's image, so those pairs say nothing. False for captions that have no other pair.
    """
    likeness = captions @ captions.T
    names = np.array(texts)
    unlike = (likeness <= np.quantile(likeness, 1 - _ALIKE)) & (names[:, None] != names)
    return np.where(unlike, captions @ images.T, -1).max(1), unlike.any(1)


def _fit_text(
    matching: Float[np.ndarray, "n 2"],
    unlike: Float[np.ndarray, "m 2"],
    background: Float[np.ndarray, "text 2"],
) -> TextFit | None:
    """Fit log-odds that grow with both features; None if they do not grow with the cosine."""
    negatives = np.concatenate([unlike, background])
    slope, known, bias = fit_logistic(matching, negatives)
    if known < 0:  # to be far from the known captions is no sign of a match
        (slope, bias), known = fit_logistic(matching[:, :1], negatives[:, :1]), 0.0
    if slope <= 0:
        return None
    odds = background @ np.array([slope, known]) + bias
    # Below even odds nothing is shown, however few background texts get there.
    return TextFit(slope, known, bias, max(0.0, float(np.quantile(odds, 1 - FALSE_POSITIVE_RATE))))


def _nearest(
    queries: Float32[np.ndarray, "query width"],
    known: Float32[np.ndarray, "known width"],
    left_out: Sequence[int] = (),
) -> Float32[np.ndarray, " query"]:
    """The cosine of each query and its nearest known caption, of which one may be left out."""
    cosines = queries @ known.T
    for query, place in enumerate(left_out):
        if place >= 0:
            cosines[query, place] = -1
    return cosines.max(1)
