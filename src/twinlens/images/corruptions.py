"""Images made worse in twelve ways at five severities, after ImageNet-C.

The kinds are those of Hendrycks and Dietterich 2019, the code and most strengths our own: figures
on these images compare models with each other, not with figures published for ImageNet-C.
Lengths scale with an image's shorter side, so that a small and a large copy are hurt alike: they
are given in pixels of an image of 224. Nothing is finer than a pixel: mild blurs and blocks leave
a tiny image as it is. `jpeg` alone does not scale, its blocks have 8 pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image

from twinlens.errors import ShapeError, require, require_known

if TYPE_CHECKING:
    from numpy.typing import NDArray

FloatImage: TypeAlias = Float[np.ndarray, "height width 3"]
"""RGB in [0, 1], float32."""

REFERENCE_SIDE = 224
"""The shorter side that lengths are given for."""

SEVERITIES = (1, 2, 3, 4, 5)
"""From mild to severe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """One way to make images worse.

    Attributes:
        apply: Changes an image by a strength; what is random about it is drawn.
        strengths: That of each severity, the mildest first.
    """

    apply: Callable[[FloatImage, float, np.random.Generator], FloatImage]
    strengths: tuple[float, float, float, float, float]


def corrupt(pixels: NDArray[np.uint8], name: str, severity: int, *, seed: int) -> NDArray[np.uint8]:
    """The image made worse: a new array of the same shape.

    Args:
        pixels: RGB, uint8 [height, width, 3].
        name: One of `CORRUPTIONS`.
        severity: From 1, mild, to 5, severe.
        seed: Decides what is random, the same for all severities: give each image its own.

    Raises:
        UnknownNameError: There is no such corruption.
        ConfigError: The severity is not in 1 to 5, or the seed is negative.
        ShapeError: It is no such array, or is empty.

    Example:
        >>> grey = np.full((4, 4, 3), 100, np.uint8)
        >>> int(corrupt(grey, "brightness", 1, seed=0)[0, 0, 0])
        126
    """
    require_known("corruption", name, CORRUPTIONS)
    require(severity in SEVERITIES, "severity", severity, "one of 1 to 5")
    require(seed >= 0, "seed", seed, "0 or more")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ShapeError(
            f"image: got {pixels.dtype} {list(pixels.shape)}, expected uint8 [height, width, 3]"
        )
    one = CORRUPTIONS[name]
    x = pixels.astype(np.float32) / 255
    return _to_uint8(one.apply(x, one.strengths[severity - 1], np.random.default_rng(seed)))


def _gaussian_noise(x: FloatImage, deviation: float, rng: np.random.Generator) -> FloatImage:
    return x + deviation * _draw_per_grain(x, lambda grains: rng.standard_normal(grains.shape))


def _shot_noise(x: FloatImage, photons: float, rng: np.random.Generator) -> FloatImage:
    """As if light came in few photons, so many where the image is white."""
    return x + _draw_per_grain(x, lambda grains: rng.poisson(grains * photons) / photons - grains)


def _impulse_noise(x: FloatImage, fraction: float, rng: np.random.Generator) -> FloatImage:
    """Salt and pepper: of each channel a share of the grains, half of them 0 and half 1."""
    draw = _draw_per_grain(x, lambda grains: rng.random(grains.shape))
    return np.where(draw < fraction / 2, 0, np.where(draw > 1 - fraction / 2, 1, x)).astype(
        np.float32
    )


def _defocus_blur(x: FloatImage, radius: float, rng: np.random.Generator) -> FloatImage:
    """The mean over a disc, as a lens out of focus draws a point."""
    radius *= _pixel_scale(x)
    points = np.arange(64 + math.ceil(12 * radius**2))  # about four a pixel
    out = radius * np.sqrt((points + 0.5) / len(points))
    turn = points * math.pi * (3 - math.sqrt(5))  # the golden angle: evenly all over
    return _blur_with_points(x, out * np.sin(turn), out * np.cos(turn))


def _motion_blur(x: FloatImage, length: float, rng: np.random.Generator) -> FloatImage:
    """The mean along a line of random direction."""
    length *= _pixel_scale(x)
    angle = rng.uniform(0, math.pi)
    along = np.linspace(-length / 2, length / 2, 16 + math.ceil(4 * length))
    return _blur_with_points(x, along * math.sin(angle), along * math.cos(angle))


def _zoom_blur(x: FloatImage, max_zoom: float, rng: np.random.Generator) -> FloatImage:
    """The mean over enlargements of the middle from none to the most."""
    image = Image.fromarray(_to_uint8(x))
    width, height = image.size
    total = np.zeros_like(x)
    zooms = np.linspace(1, max_zoom, 16)
    for zoom in zooms:
        left, top = width * (1 - 1 / zoom) / 2, height * (1 - 1 / zoom) / 2
        box = (left, top, width - left, height - top)
        total += np.asarray(image.resize(image.size, Image.Resampling.BILINEAR, box=box))
    return total / (255 * len(zooms))


def _pixelate(x: FloatImage, block: float, rng: np.random.Generator) -> FloatImage:
    image = Image.fromarray(_to_uint8(x))
    block = max(1.0, block * _pixel_scale(x))
    few = (max(1, round(image.width / block)), max(1, round(image.height / block)))
    small = image.resize(few, Image.Resampling.BOX)
    return _to_float(small.resize(image.size, Image.Resampling.NEAREST))


def _jpeg(x: FloatImage, quality: float, rng: np.random.Generator) -> FloatImage:
    file = io.BytesIO()
    Image.fromarray(_to_uint8(x)).save(file, "JPEG", quality=round(quality))
    return _to_float(Image.open(file))


def _brightness(x: FloatImage, shift: float, rng: np.random.Generator) -> FloatImage:
    return x + shift


def _contrast(x: FloatImage, factor: float, rng: np.random.Generator) -> FloatImage:
    mean = x.mean(axis=(0, 1), keepdims=True)
    return mean + factor * (x - mean)


def _fog(x: FloatImage, max_opacity: float, rng: np.random.Generator) -> FloatImage:
    """White laid over the image, unevenly: at least half as much as at most."""
    thickness = max_opacity * (0.5 + 0.5 * _fractal_noise(x.shape[:2], rng)[:, :, None])
    return x + thickness * (1 - x)


def _saturate(x: FloatImage, factor: float, rng: np.random.Generator) -> FloatImage:
    """Colours further from grey of the same luma (ITU-R BT.601)."""
    grey = (x @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None]
    return grey + factor * (x - grey)


def _fractal_noise(
    shape: tuple[int, ...], rng: np.random.Generator
) -> Float[np.ndarray, "height width"]:
    """Smooth noise from 0 to 1: random grids, each twice as fine and half as strong as the last."""
    height, width = shape
    total = np.zeros((height, width), np.float32)
    for octave in range(1, 7):
        grid = rng.random((2**octave, 2**octave), dtype=np.float32)
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) / 2**octave
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def _draw_per_grain(x: FloatImage, draw: Callable[[FloatImage], NDArray[np.float64]]) -> FloatImage:
    """Draw one value for each grain of an image and give it to all of the grain's pixels.

    A grain is what a pixel is in an image of `REFERENCE_SIDE`: without it noise on a large
    photograph would vanish when a model shrinks it.
    """
    height, width, _ = x.shape
    grain = max(1, round(_pixel_scale(x)))
    edges = ((0, -height % grain), (0, -width % grain), (0, 0))
    tiles = np.pad(x, edges, mode="edge")
    rows, columns = tiles.shape[0] // grain, tiles.shape[1] // grain
    grains = tiles.reshape(rows, grain, columns, grain, 3).mean(axis=(1, 3))
    drawn = draw(grains).astype(np.float32)
    return drawn.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]


def _blur_with_points(
    x: FloatImage, y_offsets: Float[np.ndarray, " point"], x_offsets: Float[np.ndarray, " point"]
) -> FloatImage:
    """The mean of the image moved to each of some points, in pixels."""
    kernel = _point_kernel(y_offsets, x_offsets)
    reach = len(kernel) // 2
    edges = ((0, 0), (reach, reach), (reach, reach))
    padded = np.pad(x.transpose(2, 0, 1), edges, mode="symmetric")
    _, height, width = padded.shape
    size = (height + -height % 32, width + -width % 32)  # a transform is slow at large primes
    spectrum = np.fft.rfft2(padded, size) * np.fft.rfft2(kernel, size)
    blurred = np.fft.irfft2(spectrum, size)[:, 2 * reach : height, 2 * reach : width]
    return blurred.transpose(1, 2, 0).astype(np.float32)


def _point_kernel(
    y_offsets: Float[np.ndarray, " point"], x_offsets: Float[np.ndarray, " point"]
) -> Float[np.ndarray, "size size"]:
    """Each point shared among the four pixels around it, so that parts of a pixel count."""
    reach = math.ceil(max(np.abs(y_offsets).max(), np.abs(x_offsets).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    top, left = np.floor(y_offsets).astype(int), np.floor(x_offsets).astype(int)
    low, right = y_offsets - top, x_offsets - left
    for row, share_down in ((0, 1 - low), (1, low)):
        for column, share_across in ((0, 1 - right), (1, right)):
            place = (top + row + reach, left + column + reach)
            np.add.at(kernel, place, share_down * share_across)
    return kernel / kernel.sum()


def _pixel_scale(x: FloatImage) -> float:
    """Pixels for one of an image of `REFERENCE_SIDE`."""
    return min(x.shape[:2]) / REFERENCE_SIDE


def _to_uint8(x: FloatImage) -> NDArray[np.uint8]:
    return np.rint(x.clip(0, 1) * 255).astype(np.uint8)


def _to_float(image: Image.Image) -> FloatImage:
    return np.asarray(image, np.float32) / 255


CORRUPTIONS: dict[str, Corruption] = {
    name: Corruption(apply=apply, strengths=strengths)
    for name, apply, strengths in (
        ("gaussian_noise", _gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),  # deviation
        ("shot_noise", _shot_noise, (60, 25, 12, 5, 3)),  # photons
        ("impulse_noise", _impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),  # share
        ("defocus_blur", _defocus_blur, (2, 3, 4.5, 6, 8)),  # radius, pixels at 224
        ("motion_blur", _motion_blur, (8, 12, 18, 26, 36)),  # length, pixels at 224
        ("zoom_blur", _zoom_blur, (1.06, 1.11, 1.16, 1.22, 1.3)),  # times
        ("pixelate", _pixelate, (4, 5.5, 7.5, 10, 14)),  # block, pixels at 224
        ("jpeg", _jpeg, (25, 18, 12, 8, 5)),  # quality
        ("brightness", _brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),  # of the full range
        ("contrast", _contrast, (0.5, 0.35, 0.25, 0.15, 0.08)),  # share kept
        ("fog", _fog, (0.35, 0.5, 0.65, 0.78, 0.88)),  # cover at most
        ("saturate", _saturate, (1.3, 1.7, 2.5, 4, 8)),  # times
    )
}
"""By name; each with its strengths at severities 1 to 5."""
