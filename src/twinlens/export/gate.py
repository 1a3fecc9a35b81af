"""Whether a written file says what the model says: asked in the file's own runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twinlens.errors import CheckpointError
from twinlens.export.towers import Precision, Run, Tower

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMITS: dict[Precision, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.999}
"""Least cosine, of every probe, of a file's answer and the model's in float32."""

_ENDS = (1, 3, 8)  # batches of 1, 2 and 5, and one of what is left: the batch must be free
_UNIT = 1e-3


def least_cosine(run: Run, tower: Tower, precision: Precision) -> float:
    """The smallest cosine of a file's answers and the model's own.

    Raises:
        CheckpointError: It is below the limit of the precision, or the answers are of another
            shape or length than unit vectors.
    """
    batches = [batch for batch in np.split(tower.probes.numpy(), _ENDS) if len(batch)]
    got = np.concatenate([run(batch) for batch in batches])
    expected = tower.expected.numpy()
    if got.dtype != np.float32 or got.shape != expected.shape:
        raise CheckpointError(
            f"the {tower.name} tower's file: got {got.dtype} {list(got.shape)}, "
            f"expected float32 {list(expected.shape)}"
        )
    lengths = np.linalg.norm(got.astype(np.float64), axis=1)
    # Written so that a NaN does not pass, here and below.
    if not np.abs(lengths - 1).max() <= _UNIT:
        raise CheckpointError(
            f"the {tower.name} tower's file: got vectors of lengths {lengths.min():.4f} to "
            f"{lengths.max():.4f}, expected 1"
        )
    cosine = _least(got, expected)
    if not cosine >= LIMITS[precision]:
        raise CheckpointError(
            f"the {tower.name} tower's file: got a cosine of {cosine:.6f} with the model's own "
            f"answers, expected at least {LIMITS[precision]} in {precision}"
        )
    return cosine


def _least(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    one, other = got.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())
