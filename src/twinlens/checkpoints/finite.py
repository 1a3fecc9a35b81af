"""Weights are finite numbers: a pass over them that allots no memory."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from twinlens.errors import CheckpointError

_LARGEST = torch.finfo(torch.float32).max
"""Of the numbers that are computed with."""


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite, or would be in float32."""
    return _outlier(tensor) is None


def require_finite(name: str, tensor: Tensor, path: Path) -> None:
    """Refuse weights that no training leaves.

    Raises:
        CheckpointError: A value is NaN or infinite, or would be in float32; or its type has no
            arithmetic.
    """
    try:
        outlier = _outlier(tensor)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {name}: got {tensor.dtype}, expected weights") from error
    if outlier is not None:
        raise CheckpointError(f"{path}: {name}: got {outlier}, expected finite weights")


def _outlier(tensor: Tensor) -> float | None:
    if not tensor.numel() or not tensor.is_floating_point():
        return None
    lowest, highest = torch.aminmax(tensor if tensor.itemsize > 1 else tensor.float())
    extremes = (float(lowest), float(highest))
    return next((extreme for extreme in extremes if not abs(extreme) <= _LARGEST), None)
