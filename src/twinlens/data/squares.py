"""A decoded picture to the square that a model reads: exactly, or only what the square shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from twinlens.config import PreprocessConfig

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""

_X_BACKWARDS, _Y_BACKWARDS = (2, 3, 7, 8), (3, 4, 6, 7)
"""Orientations whose columns, and whose rows, lie last to first."""

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

_MAX_RESIZED_PIXELS = 2**25
"""Beyond this the resized picture is not made before the crop: see `_resize_and_crop`."""


@dataclass(frozen=True, slots=True)
class Lying:
    """A picture as it lies in its file, not upright yet.

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
        """The picture turned, or the very same one where there is nothing to turn."""
        return _turned(self.rgb, self.orientation)


def exact_square(picture: Image.Image, config: PreprocessConfig) -> Image.Image:
    """The square of an upright picture, bit for bit as the references make it."""
    size, resampling = config.image_size, _RESAMPLING[config.interpolation]
    if config.resize == "squash":
        return picture.resize((size, size), resampling)
    return _resize_and_crop(picture, size, resampling)


def fast_square(lying: Lying, config: PreprocessConfig) -> Image.Image:
    """The square alone, resampled and then turned upright: no other pixel is computed."""
    size, (width, height) = config.image_size, lying.size
    box = (0.0, 0.0, width, height)
    if config.resize == "crop":
        backwards = (lying.orientation in _X_BACKWARDS, lying.orientation in _Y_BACKWARDS)
        box = _crop_box(lying.size, size, backwards)
    square = lying.rgb.resize((size, size), _RESAMPLING[config.interpolation], box=box)
    return _turned(square, lying.orientation)


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    transpose = UPRIGHT.get(orientation)
    return picture if transpose is None else picture.transpose(transpose)


def _resize_and_crop(
    picture: Image.Image, size: int, resampling: Image.Resampling, most: int = _MAX_RESIZED_PIXELS
) -> Image.Image:
    """The central square of side `size` after the shortest side has become `size`."""
    width, height = _resized(picture.size, size)
    if width * height > most:
        # A thin line of pixels would grow to gigabytes, of which one square is kept. Only that
        # square is computed: the same up to rounding (2 levels; more where contrasts overshoot).
        return picture.resize((size, size), resampling, box=_crop_box(picture.size, size))
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = picture.resize((width, height), resampling)
    return resized.crop((left, top, left + size, top + size))


def _crop_box(
    whole: tuple[float, float], size: int, backwards: tuple[bool, bool] = (False, False)
) -> tuple[float, float, float, float]:
    """Where in a picture the central square lies: left, top, right and bottom.

    What it begins with is rounded upright, as in the resized picture; backwards, that is its end.
    """
    spans: list[tuple[float, float]] = []
    for side, resized, turned in zip(whole, _resized(whole, size), backwards, strict=True):
        first = round((resized - size) / 2)
        if turned:
            first = resized - size - first
        step = side / resized
        spans.append((first * step, (first + size) * step))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def _resized(whole: tuple[float, float], size: int) -> tuple[int, int]:
    """Width and height after the shortest side has become `size`."""
    width, height = whole
    short = min(whole)
    return (
        size if width == short else int(size * width / short),
        size if height == short else int(size * height / short),
    )
