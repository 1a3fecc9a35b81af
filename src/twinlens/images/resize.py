"""A decoded image to the square that a model reads: to the last bit as Pillow does, or nearly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from twinlens.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""

_X_BACKWARDS, _Y_BACKWARDS = (2, 3, 7, 8), (3, 4, 6, 7)
"""Orientations whose columns, and whose rows, lie last to first."""

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

_LONGEST = 50
"""Times as long as wide that `squares` takes: what it resizes is mostly cut off."""

_MAX_RESIZED_PIXELS = 2**25
"""Beyond this the resized image is not made before the crop: see `_resize_and_crop`."""


@dataclass(frozen=True, slots=True)
class Lying:
    """An image as it lies in its file, not upright yet.

    Attributes:
        rgb: Its pixels.
        size: Width and height of what they show, in these pixels. Where a JPEG was decoded
            smaller, that may be a fraction of a pixel less than `rgb.size`.
        orientation: By EXIF.
    """

    rgb: Image.Image
    size: tuple[float, float]
    orientation: int = 1

    def upright(self) -> Image.Image:
        """The image turned, or the very same one where there is nothing to turn."""
        return _turned(self.rgb, self.orientation)


def exact_square(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """The square of an upright image, bit for bit as the references make it."""
    size, resampling = config.image_size, _RESAMPLING[config.interpolation]
    if config.resize == "squash":
        return image.resize((size, size), resampling)
    return _resize_and_crop(image, size, resampling)


def fast_square(lying: Lying, config: PreprocessConfig) -> Image.Image:
    """The square, resampled as it lies by torch's vector instructions, then turned upright."""
    size = config.image_size
    squash = config.resize == "squash"
    width, height = (size, size) if squash else _resized(lying.size, size)
    left = _first(width, size, backwards=lying.orientation in _X_BACKWARDS)
    top = _first(height, size, backwards=lying.orientation in _Y_BACKWARDS)
    if width * height > _MAX_RESIZED_PIXELS:
        box = _box(lying.size, (width, height), (left, top), size)
        square = lying.rgb.resize((size, size), _RESAMPLING[config.interpolation], box=box)
    else:
        resized = _resampled(lying, (width, height), config.interpolation)
        square = Image.fromarray(resized[top : top + size, left : left + size])
    return _turned(square, lying.orientation)


def require_pixels(pixels: object) -> None:
    """Make sure that they are what `squares` takes.

    Raises:
        ShapeError: They are no tensor, not uint8, have another shape, or are thin.
    """
    if not isinstance(pixels, Tensor):
        raise ShapeError(f"pixels: got {type(pixels).__name__}, expected a tensor")
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        got = f"{str(pixels.dtype).removeprefix('torch.')} {list(pixels.shape)}"
        raise ShapeError(f"pixels: got {got}, expected uint8 [n, 3, height, width]")
    height, width = pixels.shape[2:]
    if not 1 <= max(height, width) <= _LONGEST * min(height, width):
        raise ShapeError(
            f"pixels: got {height} x {width}, expected sides of at least 1, "
            f"the longer at most {_LONGEST} times the shorter"
        )


def squares(
    pixels: UInt8[Tensor, "n 3 height width"], config: PreprocessConfig
) -> UInt8[Tensor, "n 3 size size"]:
    """Images of one size to the model's squares where they lie, such as a film's on a GPU.

    Within 1 of 255 levels of Pillow's on average.
    """
    size = config.image_size
    whole_height, whole_width = pixels.shape[2:]
    if whole_height == whole_width == size:
        return pixels
    squash = config.resize == "squash"
    width, height = (size, size) if squash else _resized((whole_width, whole_height), size)
    resized = F.interpolate(
        pixels.float(), (height, width), mode=config.interpolation, antialias=True
    )
    top, left = _first(height, size), _first(width, size)
    square = resized[:, :, top : top + size, left : left + size]
    return square.round().clamp(0, 255).to(torch.uint8)


def _resampled(lying: Lying, size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    """All of an image at another size: 2 levels off Pillow's; more where contrasts overshoot."""
    pixels = torch.from_numpy(np.array(lying.rgb)).permute(2, 0, 1)[None]
    (width, height), (whole_width, whole_height) = size, lying.size
    # torch rounds down what a side comes to: a trifle more, lest it falls short by one.
    scale = [(1 + 1e-9) * height / whole_height, (1 + 1e-9) * width / whole_width]
    resized = F.interpolate(pixels, scale_factor=scale, mode=interpolation, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    transpose = _UPRIGHT.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _resize_and_crop(
    image: Image.Image, size: int, resampling: Image.Resampling, most: int = _MAX_RESIZED_PIXELS
) -> Image.Image:
    """The central square of side `size` after the shortest side has become `size`."""
    width, height = _resized(image.size, size)
    left, top = _first(width, size), _first(height, size)
    if width * height > most:
        # A thin line of pixels would grow to gigabytes, of which one square is kept. Only that
        # square is computed: the same up to rounding (2 levels; more where contrasts overshoot).
        box = _box(image.size, (width, height), (left, top), size)
        return image.resize((size, size), resampling, box=box)
    resized = image.resize((width, height), resampling)
    return resized.crop((left, top, left + size, top + size))


def _first(side: int, size: int, *, backwards: bool = False) -> int:
    """Where the central `size` pixels of a side begin: rounded upright, which may be at its end."""
    first = round((side - size) / 2)
    return side - size - first if backwards else first


def _box(
    whole: tuple[float, float], resized: tuple[int, int], place: tuple[int, int], size: int
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the square at a place of the resized image, in the whole."""
    x, y = whole[0] / resized[0], whole[1] / resized[1]
    left, top = place
    return left * x, top * y, (left + size) * x, (top + size) * y


def _resized(whole: tuple[float, float], size: int) -> tuple[int, int]:
    """Width and height after the shortest side has become `size`."""
    width, height = whole
    short = min(whole)
    return (
        size if width == short else int(size * width / short),
        size if height == short else int(size * height / short),
    )
