"""Normalisation of pixels, to the last bit as torchvision's `ToTensor` and `Normalize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

if TYPE_CHECKING:
    from twinlens.config import PreprocessConfig


def normalize_pixels(
    pixels: UInt8[np.ndarray, "height width 3"], config: PreprocessConfig
) -> Float32[np.ndarray, "3 height width"]:
    """Scale pixels in 0..255 to 0..1, take the mean out, divide by the deviation."""
    mean, std = (
        np.array(values, np.float32)[:, None, None] for values in (config.mean, config.std)
    )
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    return (planes / np.float32(255) - mean) / std
