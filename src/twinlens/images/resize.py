"""A decoded image to the square that a model reads: to the last bit as Pillow does, or nearly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from twinlens.config import PreprocessConfig

_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, by its EXIF orientation."""

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

MAX_RESIZED_PIXELS = 2**25
"""Beyond this the resized image is not made before the crop: see `_resize_and_crop`."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image as it lies in its file, not upright yet.

    Attributes:
        rgb: Its pixels.
        content_size: Width and height of what they show, in these pixels. Where a JPEG was decoded
            smaller, that may be a fraction of a pixel less than `rgb.size`.
        orientation: By EXIF.
    """

    rgb: Image.Image
    content_size: tuple[float, float]
    orientation: int = 1

    def upright(self) -> Image.Image:
        """The image turned, or the very same one where there is nothing to turn."""
        return turn_upright(self.rgb, self.orientation)


def resize_exact(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """The square of an upright image, bit for bit as the references make it."""
    size, resampling = config.image_size, RESAMPLING[config.interpolation]
    if config.resize == "squash":
        return image.resize((size, size), resampling)
    return _resize_and_crop(image, size, resampling)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Undo an EXIF orientation; the same image where there is nothing to undo."""
    transpose = _TRANSPOSE_BY_ORIENTATION.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _resize_and_crop(
    image: Image.Image,
    size: int,
    resampling: Image.Resampling,
    max_pixels: int = MAX_RESIZED_PIXELS,
) -> Image.Image:
    """The central square of side `size` after the shortest side has become `size`."""
    width, height = resized_size(image.size, size)
    left, top = crop_start(width, size), crop_start(height, size)
    if width * height > max_pixels:
        # A thin line of pixels would grow to gigabytes, of which one square is kept. Only that
        # square is computed: the same up to rounding (2 levels; more where contrasts overshoot).
        box = source_box(image.size, (width, height), (left, top), size)
        return image.resize((size, size), resampling, box=box)
    resized = image.resize((width, height), resampling)
    return resized.crop((left, top, left + size, top + size))


def crop_start(side: int, size: int, *, flipped: bool = False) -> int:
    """The start of the central `size` pixels of a side: rounded upright, also if it is flipped."""
    first = round((side - size) / 2)
    return side - size - first if flipped else first


def source_box(
    whole: tuple[float, float], resized: tuple[int, int], place: tuple[int, int], size: int
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the square at a place of the resized image, in the whole."""
    x, y = whole[0] / resized[0], whole[1] / resized[1]
    left, top = place
    return left * x, top * y, (left + size) * x, (top + size) * y


def resized_size(whole: tuple[float, float], size: int) -> tuple[int, int]:
    """Width and height after the shortest side has become `size`."""
    width, height = whole
    short = min(whole)
    return (
        size if width == short else int(size * width / short),
        size if height == short else int(size * height / short),
    )
