"""Calibration of cosine similarities: probabilities, and a cut-off so that nothing may match.

The cosine of a matching pair depends on the model, on the collection and on the query, so that no
one number divides matches from the rest. `calibrate` measures a collection once, see
`calibration_fit`; a query then costs one product with the known captions, however many images
there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, Float32

from twinlens.errors import DataError, os_errors_as, require, require_shape
from twinlens.files import atomic_file
from twinlens.search.calibration_fit import (
    CaptionedRows,
    TextEmbedder,
    background_texts,
    fit_captions,
    fit_image_pairs,
    fit_null,
    score_background,
)
from twinlens.search.logistic import sigmoid

FORMAT = 1
"""The version of the file that this code reads and writes."""


@dataclass(frozen=True, slots=True)
class QueryPart:
    """A part of a query: a text, or an image.

    Attributes:
        vector: Its unit vector, float32 [width].
        kind: "text" or "image".
        weight: Its weight in the query; a negative one steers away from it.
    """

    vector: Float32[np.ndarray, " width"]
    kind: Literal["text", "image"]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Cutoff:
    """The calibration of one query's cosines.

    Attributes:
        cosine: Results below it are dropped.
        even: The cosine at which the probability is one half, at even prior odds.
        slope: Of the log-odds over the cosine, positive.
    """

    cosine: float
    even: float
    slope: float

    def probability(self, scores: Float[np.ndarray, "*result"]) -> Float[np.ndarray, "*result"]:
        """The probability in [0, 1] that images of these cosines match the query.

        The prior odds are even: of queries, half are taken to have a match.
        """
        return sigmoid(self.slope * (np.asarray(scores, np.float64) - self.even))


@dataclass(frozen=True, slots=True)
class SearchCalibration:
    """A collection's calibration, as `calibrate` makes it.

    Attributes:
        mean: Mean of the image vectors, float32 [width].
        known: Unit vectors of known captions, float32 [known, width]; none without captions.
        text_slope: Log-odds of a text query by cosine.
        text_known: Log-odds by the cosine of the query and the nearest known caption.
        text_bias: Log-odds at zero of both.
        text_odds: Log-odds below which results of a text query are dropped.
        image_slope: Log-odds of an image query by cosine.
        image_cosine: Cosine below which results of an image query are dropped.
    """

    mean: Float32[np.ndarray, " width"]
    known: Float32[np.ndarray, "known width"]
    text_slope: float
    text_known: float
    text_bias: float
    text_odds: float
    image_slope: float
    image_cosine: float

    def cutoff(self, parts: Sequence[QueryPart]) -> Cutoff:
        """Calibrate one query, whose vector is the weighted sum of its parts, made of unit length.

        The cosine to a mixture is the weighted sum of the cosines to its parts, divided by the
        mixture's length; so its cut-off is that of an image at the cut-off of each part. At a part
        with a negative weight, that image is as far as the mean image.

        Raises:
            DataError: There are no parts, or their sum is zero or not finite.
            ShapeError: A part has another width.
        """
        for part in parts:
            require_shape("query", part.vector.shape, self.mean.shape)
        total = sum((part.weight * part.vector for part in parts), np.zeros_like(self.mean))
        length = float(np.linalg.norm(total))
        require(0 < length < np.inf, "query", length, "a sum of finite length, not 0", DataError)
        weights = np.array([part.weight for part in parts])
        cutoffs = [self._cutoff_of(part) for part in parts]
        share = np.abs(weights) / np.abs(weights).sum()
        slope = float(share @ [one.slope for one in cutoffs])
        return Cutoff(
            cosine=float(weights @ [one.cosine for one in cutoffs]) / length,
            even=float(weights @ [one.even for one in cutoffs]) / length,
            slope=slope * length / float(np.abs(weights).sum()),
        )

    def text_cutoff(self, vector: Float32[np.ndarray, " width"]) -> Cutoff:
        """Calibrate a query that is one text."""
        return self.cutoff([QueryPart(vector, "text")])

    def image_cutoff(self, vector: Float32[np.ndarray, " width"]) -> Cutoff:
        """Calibrate a query that is one image."""
        return self.cutoff([QueryPart(vector, "image")])

    def save(self, path: Path) -> None:
        """Write one file, atomically.

        Raises:
            OSError: It cannot be written; the old content stays.
        """
        numbers = np.array([FORMAT, *astuple(self)[2:]], np.float64)
        with atomic_file(path) as file:
            np.savez(file, mean=self.mean, known=self.known.astype(np.float16), numbers=numbers)

    @classmethod
    def load(cls, path: Path) -> SearchCalibration:
        """Read what `save` wrote.

        Raises:
            DataError: It cannot be read, or is of another version.
        """
        broken = "the calibration cannot be read"
        with os_errors_as(DataError, path, broken), path.open("rb") as file:
            try:
                with np.load(file, allow_pickle=False) as data:
                    mean, known, numbers = data["mean"], data["known"], data["numbers"].tolist()
            except (ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
                raise DataError(
                    f"{path}: {broken}, as it is damaged: `twinlens index --out` makes it anew"
                ) from error
        expected = len(fields(cls)) - 1
        require(
            len(numbers) == expected and numbers[0] == FORMAT, f"{path}: format", numbers[:1],
            f"{FORMAT}, of this version of twinlens", DataError,
        )  # fmt: skip
        return cls(mean, known.astype(np.float32), *numbers[1:])

    def _cutoff_of(self, part: QueryPart) -> Cutoff:
        if part.weight < 0:
            far = float(self.mean @ part.vector)
            slope = self.text_slope if part.kind == "text" else self.image_slope
            return Cutoff(far, far, slope)
        if part.kind == "image":
            return Cutoff(self.image_cosine, self.image_cosine, self.image_slope)
        # By rows: the threads of a matrix product wait for milliseconds on a busy machine.
        nearest = float(np.vecdot(self.known, part.vector).max()) if len(self.known) else 0.0
        bias = self.text_bias + self.text_known * nearest
        return Cutoff(
            (self.text_odds - bias) / self.text_slope, -bias / self.text_slope, self.text_slope
        )


def calibrate(
    vectors: Float32[np.ndarray, "row width"],
    embedder: TextEmbedder,
    captions: Sequence[str | None] | None = None,
    *,
    live: Bool[np.ndarray, " live"] | None = None,
    seed: int = 0,
) -> SearchCalibration:
    """Measure a collection: about as much work as 530 searches of all rows.

    Args:
        vectors: Unit vectors of the images; may be mapped from a file.
        embedder: The model of the vectors.
        captions: A caption for each row, None or empty where there is none.
        live: bool [row], False for rows that are no images any more; None are all images.
        seed: For the captions and the pairs that are drawn.

    Raises:
        DataError: There is no image.
        ShapeError: The captions or the live rows are not as many as the rows.
    """
    live = np.ones(len(vectors), bool) if live is None else live
    require_shape("live", live.shape, (len(vectors),))
    rows = np.flatnonzero(live)
    require(len(rows), "images", 0, "at least one to calibrate with", DataError)
    rng = np.random.default_rng(seed)
    background = embedder.embed_texts(background_texts(), truncate=True)
    null, mean = score_background(vectors, live, background)
    known, text = np.zeros((0, vectors.shape[1]), np.float32), fit_null(null.best)
    if captions is not None:
        require_shape("captions", (len(captions),), (len(vectors),))
        captioned = CaptionedRows.find(captions, rows)
        if fitted := fit_captions(vectors, embedder, captioned, null, rng):
            known, text = fitted
    image = fit_image_pairs(vectors, rows, rng)
    return SearchCalibration(
        mean, known, text.slope, text.known, text.bias, text.odds, image.slope, image.cosine
    )
