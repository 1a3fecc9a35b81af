"""Results of a search: which images, how near, how probable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from twinlens.search.calibrate import Cutoff

MinScore = float | Literal["auto"] | None
"""Least cosine of a result: a number, the calibrated cut-off, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An image that was found.

    Attributes:
        image: Its path; the first that matches the filter where it has several.
        score: Its cosine similarity with the query, in [-1, 1].
        probability: Calibrated probability that it matches, in [0, 1]; None without calibration.
        metadata: Its id, size, date and whatever the input says; `paths` where it has several.
    """

    image: str
    score: float
    probability: float | None
    metadata: Mapping[str, Any]


def least_score(min_score: MinScore, cutoff: Cutoff | None) -> float:
    """The cosine below which nothing is a result; -1 keeps everything."""
    if min_score == "auto":
        return -1.0 if cutoff is None else cutoff.cosine
    return -1.0 if min_score is None else float(min_score)


def make_results(
    described: Sequence[dict[str, Any]],
    scores: Float32[np.ndarray, " result"],
    cutoff: Cutoff | None,
) -> list[Result]:
    """The results of a query.

    Args:
        described: Paths and metadata of each, as `Store.describe` gives them.
        scores: Their cosines.
        cutoff: The calibration of the query, if there is one.
    """
    probabilities = [None] * len(scores) if cutoff is None else cutoff.probability(scores).tolist()
    return [
        Result(
            image=one["paths"][0],
            score=float(score),
            probability=probability,
            metadata={**one["metadata"], **({"paths": one["paths"]} if one["paths"][1:] else {})},
        )
        for one, score, probability in zip(described, scores, probabilities, strict=True)
    ]
