"""Results of a search: which images, how near, how probable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32

from twinlens.errors import ConfigError, require

if TYPE_CHECKING:
    from twinlens.search.calibrate import Cutoff

MinScore = float | Literal["auto"] | None
"""Least cosine of a result: a number, the calibrated cut-off, or none."""


PathInputs = str | Path | Iterable[str | Path]
"""One path or several."""

MAX_RESULTS = 100_000
"""Largest number of results of a query, those of earlier pages counted."""


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


def as_names(paths: PathInputs) -> list[str]:
    """Paths as text; one alone is a list of it."""
    if isinstance(paths, str | Path):
        return [str(paths)]
    if not isinstance(paths, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"paths: got {type(paths).__name__}, expected a path or several")
    return [str(path) for path in paths]


def check_options(k: object, offset: object, where: object, min_score: object) -> None:
    """Refuse options of a search of another type or range.

    Raises:
        ConfigError: One is.
    """
    numbers = [one for one in (k, offset) if isinstance(one, int)]
    require(
        len(numbers) == 2 and numbers[0] > 0 <= numbers[1] and sum(numbers) <= MAX_RESULTS,
        "k + offset",
        f"{k} + {offset}",
        f"whole numbers, k of 1 or more, at most {MAX_RESULTS:,} together",
    )
    require(where is None or isinstance(where, str), "where", where, "a filter as text, or None")
    is_number = isinstance(min_score, int | float) and -1 <= min_score <= 1
    require(
        min_score is None or min_score == "auto" or is_number, "min_score", min_score,
        '"auto", None, or a cosine in -1..1',
    )  # fmt: skip
