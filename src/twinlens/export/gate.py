"""Parity gate: compare the outputs of an exported file, run in its runtime, with the model's."""

from __future__ import annotations

import numpy as np

from twinlens.errors import CheckpointError
from twinlens.export.towers import ExportTower, TowerRunner
from twinlens.types import ExportPrecision

MIN_COSINES: dict[ExportPrecision, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.999}
"""Smallest allowed cosine of a file's output with the model's in float32, for any probe."""

# Batches of 1, 2 and 5, and one of the rest: the batch size must not be fixed.
_BATCH_BOUNDARIES = (1, 3, 8)
_NORM_TOLERANCE = 1e-3


def check_min_cosine(run: TowerRunner, tower: ExportTower, precision: ExportPrecision) -> float:
    """Return the smallest cosine of a file's outputs with the model's own.

    Raises:
        CheckpointError: It is below the limit of the precision, or the outputs have another shape
            or are not of unit length.
    """
    batches = [batch for batch in np.split(tower.inputs.numpy(), _BATCH_BOUNDARIES) if len(batch)]
    got = np.concatenate([run(batch) for batch in batches])
    expected = tower.embeddings.numpy()
    if got.dtype != np.float32 or got.shape != expected.shape:
        raise CheckpointError(
            f"the {tower.name} tower's file: got {got.dtype} {list(got.shape)}, "
            f"expected float32 {list(expected.shape)}"
        )
    answers, own = got.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(answers, axis=1)
    # Negated comparisons, here and below: a NaN does not pass.
    if not np.abs(lengths - 1).max() <= _NORM_TOLERANCE:
        raise CheckpointError(
            f"the {tower.name} tower's file: got vectors of lengths {lengths.min():.4f} to "
            f"{lengths.max():.4f}, expected 1"
        )
    cosine = float(((answers * own).sum(axis=1) / (lengths * np.linalg.norm(own, axis=1))).min())
    if not cosine >= MIN_COSINES[precision]:
        raise CheckpointError(
            f"the {tower.name} tower's file: got a cosine of {cosine:.6f} with the model's own "
            f"answers, expected at least {MIN_COSINES[precision]} in {precision}"
        )
    return cosine
