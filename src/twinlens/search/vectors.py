"""Checks of vectors, and which rows are images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray

from twinlens.errors import DataError, ShapeError, require


def unusable_vectors(vectors: NDArray[np.float32]) -> Bool[np.ndarray, " image"]:
    """True for vectors that are zero or not finite: no search finds them."""
    lengths = np.linalg.norm(vectors, axis=1)
    return ~np.isfinite(lengths) | (lengths == 0)


def check_vectors(vectors: NDArray[np.float32], count: int, width: int) -> None:
    """Refuse vectors that no search can find.

    Raises:
        ShapeError: They are not [count, width].
        DataError: One is zero or not finite.
    """
    require(
        vectors.shape == (count, width), "vectors", list(vectors.shape), str([count, width]),
        ShapeError,
    )  # fmt: skip
    bad = np.flatnonzero(unusable_vectors(vectors))
    if len(bad):
        raise DataError(
            f"vectors: got {len(bad):,} that are zero or not finite (the first is number "
            f"{bad[0]}), expected unit vectors"
        )


def live_rows(count: int, holes: Int64[np.ndarray, " hole"]) -> Bool[np.ndarray, " row"]:
    """True for rows that are images."""
    live = np.ones(count, bool)
    live[holes] = False
    return live
