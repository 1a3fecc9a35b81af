"""Weights are finite numbers: a pass over them that allocates no memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinlens.checkpoints.formats.storage.arrays import DTYPES, Array, is_float
from twinlens.errors import CheckpointError

_LARGEST = float(np.finfo(np.float32).max)
"""Largest number of the type that models compute with."""

_INFINITY = {DTYPES["float16"]: 0x7C00, DTYPES["bfloat16"]: 0x7F80}
"""Bits of infinity: larger ones are NaN, and the sign is the highest bit."""


def is_finite(array: Array) -> bool:
    """True if no value is NaN or infinite, or would be in float32."""
    return _outlier(array) is None


def require_finite(name: str, array: Array, path: Path) -> None:
    """Refuse weights that are not finite.

    Raises:
        CheckpointError: A value is NaN or infinite, or would be in float32.
    """
    outlier = _outlier(array)
    if outlier is not None:
        raise CheckpointError(f"{path}: {name}: got {outlier}, expected finite weights")


def _outlier(array: Array) -> float | None:
    if not array.size or not is_float(array.dtype) or _has_finite_bits(array):
        return None
    if array.dtype.kind != "f" or array.itemsize == 1:
        array = array.astype(np.float32)
    extremes = (float(array.min()), float(array.max()))
    return next((extreme for extreme in extremes if not abs(extreme) <= _LARGEST), None)


def _has_finite_bits(array: Array) -> bool:
    """True if an array of 16-bit numbers is finite; comparing bits is many times faster."""
    infinity = _INFINITY.get(array.dtype)
    if infinity is None:
        return False
    positive, negative = array.view(np.int16).max(), array.view(np.uint16).max()
    return bool(positive < infinity and negative < infinity | 0x8000)
