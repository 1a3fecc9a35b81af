"""Fast resizing in whole numbers, close to Pillow's result and equal to torch's for bytes.

`torch.nn.functional.interpolate(..., antialias=True)` resizes bytes on x86 in two passes, columns
and then rows, with weights rounded to 16-bit whole numbers and bytes between the passes. Here each
pass is a series of small matrix products in floating point, which are exact: pixels lie around 0
and no sum outgrows the mantissa, so neither the order of summation nor the machine matters. Only
what the crop keeps is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from PIL import Image

from twinlens.images.resize import (
    MAX_RESIZED_PIXELS,
    RESAMPLING,
    DecodedImage,
    crop_start,
    resized_size,
    source_box,
    turn_upright,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig

_X_FLIPPED, _Y_FLIPPED = (2, 3, 7, 8), (3, 4, 6, 7)
"""Orientations whose columns, and whose rows, lie last to first."""

_BLOCK = 16
"""Outputs of one matrix product. More need fewer products, with more zeros among the weights."""

_STRIP_BYTES = 500_000
"""Of pixels as floats that are worked on at a time: they stay in the cache."""

_MAX_PRODUCTS = 2**18
"""Of one matrix product: up to here OpenBLAS starts no threads of its own."""

_MAX_PRECISION = 22
"""Bits after the point in the weights, at most."""


def resize_fast(decoded: DecodedImage, config: PreprocessConfig) -> Image.Image:
    """The square, resampled as it lies by matrix products, then turned upright."""
    size = config.image_size
    squash = config.resize == "squash"
    width, height = (size, size) if squash else resized_size(decoded.content_size, size)
    left = crop_start(width, size, flipped=decoded.orientation in _X_FLIPPED)
    top = crop_start(height, size, flipped=decoded.orientation in _Y_FLIPPED)
    if width * height > MAX_RESIZED_PIXELS:
        box = source_box(decoded.content_size, (width, height), (left, top), size)
        square = decoded.rgb.resize((size, size), RESAMPLING[config.interpolation], box=box)
    else:
        (columns, rows), (whole_width, whole_height) = decoded.rgb.size, decoded.content_size
        # torch rounds down what a side comes to: a trifle more, lest it falls short by one.
        x_factor, y_factor = (1 + 1e-9) * width / whole_width, (1 + 1e-9) * height / whole_height
        x = _plan_axis(columns, x_factor, left, size, config.interpolation)
        y = _plan_axis(rows, y_factor, top, size, config.interpolation)
        square = _resize_rows(_resize_columns(decoded.rgb, x, y), y, size)
    return turn_upright(square, decoded.orientation)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One pass over a side: `_BLOCK` outputs at a time from a window of inputs.

    Attributes:
        used: The first input that any output needs, and the one after the last.
        start: Where the first window starts; may lie before the first input.
        step: From one window to the next, in inputs.
        weights: (blocks, window, _BLOCK), fractions whose sums of centred bytes are exact.
        offsets: (blocks * _BLOCK,), added before rounding down: a half, and what centring took.
    """

    used: tuple[int, int]
    start: int
    step: int
    weights: NDArray[Any]
    offsets: NDArray[Any]

    @property
    def padding(self) -> int:
        """Inputs in the first window before the first that is used."""
        return self.used[0] - self.start

    @property
    def padded(self) -> int:
        """The inputs from the first window's start to the last one's end, or to that of `used`."""
        blocks, window, _ = self.weights.shape
        return max((blocks - 1) * self.step + window, self.used[1] - self.start)


def _resize_columns(image: Image.Image, x: _Axis, y: _Axis) -> NDArray[Any]:
    """The first pass, over the rows that the second needs.

    Returns:
        (y.padded, 3, columns): bytes less 128, as floats; rows that are padding are 0.
    """
    dtype = np.result_type(x.weights, y.weights)
    weights, offsets = x.weights.astype(dtype, copy=False), x.offsets.astype(dtype, copy=False)
    (left, right), (top, bottom) = x.used, y.used
    made = np.empty((y.padded, 3, offsets.size), dtype)
    made[: y.padding] = made[y.padding + bottom - top :] = 0
    lines = max(1, min(bottom - top, _STRIP_BYTES // (3 * x.padded * dtype.itemsize)))
    strip = np.zeros((lines, 3, x.padded), dtype)
    inner = strip[:, :, x.padding : x.padding + right - left]
    whole = (left, top, right, bottom) == (0, 0, *image.size)
    planes = _centred_planes(image if whole else image.crop((left, top, right, bottom)))
    for line in range(top, bottom, lines):
        end = min(line + lines, bottom)
        for channel, plane in enumerate(planes):
            inner[: end - line, channel] = plane[line - top : end - top]
        target = made[line - y.start : end - y.start].reshape(-1, offsets.size)
        _multiply_windows(strip.reshape(-1, x.padded)[: len(target)], weights, x.step, target)
        _round_and_clip(target, offsets)
    return made


def _multiply_windows(
    lines: NDArray[Any], weights: NDArray[Any], step: int, target: NDArray[Any]
) -> None:
    """Write each line's windows times the weights into the target's blocks of columns."""
    blocks, window, _ = weights.shape
    row, item = lines.strides
    few = max(1, _MAX_PRODUCTS // (window * _BLOCK))
    windows = as_strided(lines, (blocks, len(lines), window), (step * item, row, item))
    products = target.reshape(-1, blocks, _BLOCK).transpose(1, 0, 2)
    for first in range(0, len(lines), few):
        part = slice(first, first + few)
        np.matmul(windows[:, part], weights, out=products[:, part])


def _resize_rows(lines: NDArray[Any], y: _Axis, size: int) -> Image.Image:
    """The second pass, over what the first made."""
    weights = y.weights.astype(lines.dtype, copy=False).transpose(0, 2, 1)
    offsets = y.offsets.astype(lines.dtype, copy=False)[:, None]
    blocks, _, window = weights.shape
    row, _, item = lines.strides
    few = max(1, _MAX_PRODUCTS // (window * _BLOCK))
    bands: list[Image.Image] = []
    for channel in range(3):
        windows = as_strided(
            lines[:, channel], (blocks, window, size), (y.step * row, row, item), writeable=False
        )
        made = np.empty((blocks, _BLOCK, size), lines.dtype)
        for first in range(0, size, few):
            part = slice(first, first + few)
            np.matmul(weights, windows[:, :, part], out=made[:, :, part])
        square = made.reshape(-1, size)
        _round_and_clip(square, offsets)
        levels = square[:size].astype(np.int8).view(np.uint8) ^ 128
        bands.append(Image.frombuffer("L", (size, size), levels, "raw", "L", 0, 1))
    return Image.merge("RGB", bands)


def _centred_planes(image: Image.Image) -> list[NDArray[np.int8]]:
    """The bytes less 128 of each channel, (height, width)."""
    bands = (np.frombuffer(image.tobytes("raw", band), np.uint8) for band in "RGB")
    return [(band ^ 128).view(np.int8).reshape(image.height, image.width) for band in bands]


def _round_and_clip(sums: NDArray[Any], offsets: NDArray[Any]) -> None:
    """Make sums the nearest bytes less 128, in place."""
    sums += offsets
    np.floor(sums, out=sums)
    np.clip(sums, -128, 127, out=sums)


@lru_cache(maxsize=32)
def _plan_axis(side: int, factor: float, at: int, size: int, interpolation: str) -> _Axis:
    """The pass that makes `size` outputs, from the one at `at`, of a side times a factor."""
    made = int(side * factor)
    if made == side:  # torch leaves such a side alone, whatever the factor
        first, weights, precision = np.arange(side), np.ones((1, side)), 0
    else:
        first, fractions = _window_weights(side, made, 1 / factor, interpolation)
        weights, precision = _quantise(fractions)
    first, weights = first[at : at + size], weights[:, at : at + size]
    return _in_blocks(side, first, weights, precision)


def _window_weights(
    side: int, made: int, scale: float, interpolation: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The first input of each output, (made,), and its weights, (taps, made); sums are 1."""
    kernel, radius = (_cubic, 2.0) if interpolation == "bicubic" else (_triangle, 1.0)
    stretch = max(scale, 1.0)
    support = radius * stretch
    centre = scale * (np.arange(made) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), side) - first
    count = count.clip(0, 2 * math.ceil(support) + 1)
    tap = np.arange(count.max())[:, None]
    weights = kernel(np.abs((tap + (first - centre) + 0.5) * (1 / stretch)))
    weights[tap >= count] = 0
    # Summed tap by tap, as torch does: numpy adds up whole rows one after the other.
    weights /= np.add.reduce(weights, axis=0)
    return first, weights


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys's cubic convolution of distances, with a = -0.5."""
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation's weights of distances."""
    return np.maximum(1 - x, 0.0)


def _quantise(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Weights as whole numbers below 2^15, and by which power of 2 they were multiplied."""
    largest, precision = float(weights.max()), 0
    while precision < _MAX_PRECISION and int(0.5 + largest * 2.0 ** (precision + 1)) < 2**15:
        precision += 1
    whole = weights * 2.0**precision
    return np.trunc(whole + np.copysign(0.5, whole)), precision


def _in_blocks(
    side: int, first: NDArray[np.int64], weights: NDArray[np.float64], precision: int
) -> _Axis:
    """Lay windows over the inputs at even distances, and the weights into them."""
    size, (taps, _) = first.size, weights.shape
    last = np.minimum(first + taps, side)
    blocks = -(-size // _BLOCK)
    opened = first[::_BLOCK]
    closed = last[np.minimum(np.arange(1, blocks + 1) * _BLOCK, size) - 1]
    step = round(float(opened[-1] - opened[0]) / max(blocks - 1, 1))
    drift = np.arange(blocks) * step
    start = int((opened - drift).min())
    window = int((closed - drift).max()) - start
    dtype = _exact_dtype(weights, precision)
    # What lies beyond the last input is 0, and cut off again.
    laid = np.zeros((blocks, window + taps, _BLOCK), dtype)
    block, column = np.divmod(np.arange(size), _BLOCK)
    place = first - start - drift[block] + np.arange(taps)[:, None]
    laid[block, place, column] = weights / 2.0**precision
    offsets = np.zeros(blocks * _BLOCK, dtype)
    offsets[:size] = 0.5 + 128 * (weights.sum(axis=0) / 2.0**precision - 1)
    return _Axis((int(first[0]), int(last[-1])), start, step, laid[:, :window], offsets)


def _exact_dtype(weights: NDArray[np.float64], precision: int) -> type[np.floating[Any]]:
    """The smaller float in which no sum of weighted centred bytes, nor its rounding, is inexact."""
    largest = 128 * float(np.abs(weights).sum(axis=0).max())
    return np.float32 if largest <= 2**24 and precision <= 17 else np.float64
