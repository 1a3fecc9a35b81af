"""Images: files, bytes, PIL images or arrays, to the pixels that a model reads.

The preprocessing is CLIP's (shortest side resized, centre cropped) or SigLIP's (both sides
resized), then normalised, to the last bit what Pillow does with the same file, unless "fast" is
asked for. No decoder sees a file before its header has been checked.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from twinlens.errors import DataError, ShapeError, UnknownNameError, require
from twinlens.images import exif
from twinlens.images.codecs import (
    READABLE_FORMATS,
    DecodeLimits,
    OpenedImage,
    decode_error,
    open_encoded,
)
from twinlens.images.fast_resize import resize_fast
from twinlens.images.resize import DecodedImage, resize_exact
from twinlens.types import DecodeMode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig
    from twinlens.types import ImageInput

_WHITE = (255, 255, 255)
_MIN_DRAFT_RATIO = 2
"""Least ratio of the shortest side of a JPEG that is decoded smaller to the square's side.

With 1.5, sharp photographs are more than one level off.
"""

_DEFAULT_LIMITS = DecodeLimits()


def decode_image(
    source: ImageInput,
    *,
    limits: DecodeLimits = _DEFAULT_LIMITS,
    background: tuple[int, int, int] = _WHITE,
    name: str | None = None,
) -> Image.Image:
    """Decode an image to an RGB image of its own, upright by its EXIF orientation.

    Animations give their first frame, 16 bits their high byte, transparency the background.
    Damaged EXIF is no reason to warn: what cannot be read of it is as if it were not there.

    Args:
        source: JPEG, PNG, WebP, GIF or BMP as a path or bytes; a PIL image; or uint8
            [height, width, 3], [height, width, 1] or [height, width].
        limits: What the file may ask for.
        background: RGB in 0..255.
        name: What messages call the image; by default its path.

    Raises:
        DataError: The file is missing, no image, damaged or beyond the limits.
        ShapeError: An array is not uint8 of one of these shapes.
    """
    return _upright(_decode(source, name or _display_name(source), limits, background), source)


def decode_thumbnail(
    source: ImageInput,
    size: int,
    *,
    limits: DecodeLimits = _DEFAULT_LIMITS,
    background: tuple[int, int, int] = _WHITE,
    name: str | None = None,
) -> Image.Image:
    """Decode an image to one of at most `size` pixels a side; smaller ones keep their size.

    As `decode_image` does, but large JPEG files are decoded at a part of their sides.

    Raises:
        DataError: As there.
        ShapeError: As there.
    """
    lying = _decode(
        source, name or _display_name(source), limits, background, min_side=_MIN_DRAFT_RATIO * size
    )
    small = _upright(lying, source)
    small.thumbnail((size, size))
    return small


def _upright(lying: DecodedImage, source: ImageInput) -> Image.Image:
    """An image upright, never the very one that was given."""
    rgb = lying.upright()
    if rgb is source:
        return rgb.copy()
    if rgb is not lying.rgb:
        for key in exif.ORIENTATION_KEYS:  # nobody shall turn it again
            rgb.info.pop(key, None)
    return rgb


def to_pixels(
    image: ImageInput, config: PreprocessConfig, decode: DecodeMode = "exact"
) -> UInt8[np.ndarray, "size size 3"]:
    """Decode, and resize to a square of side `config.image_size`.

    "crop" resizes the shortest side and crops the centre: bit for bit what Pillow and
    torchvision's `Resize` and `CenterCrop` give, except for images hundreds of times as long as
    wide (rounding only). "squash" resizes both sides: bit for bit Pillow's `resize`. Smaller
    images are enlarged.

    Args:
        image: The image.
        config: Side of the square, resizing and background.
        decode: "exact", as above; or "fast", which decodes large JPEG files at a half, a quarter
            or an eighth of their sides and resizes by torch. Of photographs each is within 1 of
            255 levels of exact on average, finer patterns up to 8; the same files are refused.

    Raises:
        DataError: The image cannot be decoded.
        ShapeError: An array is not uint8 [height, width, 3 or 1].
        UnknownNameError: There is no such way to decode.
    """
    if decode == "exact":
        return np.array(resize_exact(decode_image(image, background=config.background), config))
    if decode != "fast":
        raise UnknownNameError("decode", decode, get_args(DecodeMode))
    least = _MIN_DRAFT_RATIO * config.image_size
    lying = _decode(image, _display_name(image), _DEFAULT_LIMITS, config.background, min_side=least)
    return np.array(resize_fast(lying, config))


def _decode(
    source: ImageInput,
    name: str,
    limits: DecodeLimits,
    background: tuple[int, int, int],
    min_side: int | None = None,
) -> DecodedImage:
    """An image as RGB; the shortest side of a JPEG file need not stay longer than `min_side`."""
    if isinstance(source, np.ndarray):
        rgb = _from_array(source, name)
        return DecodedImage(rgb, rgb.size)
    given = isinstance(source, Image.Image)
    opened = OpenedImage(image=source) if given else _open(source, name, limits)
    image = opened.image
    limits.check_size(name, *image.size)
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise DataError(
            f"{name}: got numbers of unknown range (mode {image.mode}), expected 8 bits"
        )
    try:
        # An image that was given is its owner's: drafting would leave it small.
        size = None if min_side is None or given else _draft_jpeg(image, min_side)
        image.load()
        rgb = _to_rgb(image, background, opened)
        return DecodedImage(
            rgb, size or rgb.size, 1 if opened.is_upright else exif.read_orientation(image)
        )
    # On broken files decoders raise almost anything: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise decode_error(name, image.format or image.mode, error) from error


def _open(source: str | Path | bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    data = (
        source if isinstance(source, bytes) else read_image_file(source, limits=limits, name=name)
    )
    return open_encoded(data, name, limits)


def _draft_jpeg(image: Image.Image, min_side: int) -> tuple[float, float] | None:
    """Have a JPEG decoded smaller, if it may be; width and height that it will have then.

    libjpeg rounds the sides up. Where they are taken for the image's own, all of it is shifted
    by part of a pixel, the larger half of the error.
    """
    draft = image.draft(None, (min_side, min_side))
    if draft is None:
        return None
    _, (_, _, width, height) = draft
    return width, height


def _display_name(source: object) -> str:
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or "<image>"
    if isinstance(source, np.ndarray):
        return "<array>"
    return "<bytes>" if isinstance(source, bytes) else str(source)


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3):
        raise ShapeError(
            f"{name}: got {array.dtype} {list(array.shape)}, expected uint8 [height, width, 3 or 1]"
        )
    require(array.size != 0, name, list(array.shape), "at least one pixel", ShapeError)
    if channels == 1:
        return Image.fromarray(array.reshape(array.shape[:2])).convert("RGB")
    return Image.fromarray(array)


def read_image_file(
    path: str | Path, *, limits: DecodeLimits = _DEFAULT_LIMITS, name: str | None = None
) -> bytes:
    """The bytes of an image's file, not decoded.

    Raises:
        DataError: It is missing, no file, unreadable, empty or larger than the limits.
    """
    name = name or str(path)
    if not isinstance(path, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        got = type(path).__name__
        raise DataError(f"image: got {got}, expected a path, bytes, a PIL image or an array")
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"{name}: got a directory, expected {READABLE_FORMATS}")
        if not stat.S_ISREG(status.st_mode):  # a pipe would block
            raise DataError(f"{name}: got no regular file, expected {READABLE_FORMATS}")
        limits.check_bytes(name, status.st_size)
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file, expected {READABLE_FORMATS}") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name}: cannot be read: {reason}") from error


def _to_rgb(
    image: Image.Image, background: tuple[int, int, int], opened: OpenedImage
) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _to_8_bits(image, opened)
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        base = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(base, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(image: Image.Image, opened: OpenedImage) -> Image.Image:
    """Grey of 9 to 16 bits to 8, as Pillow does for 16-bit colour; for grey it would clip."""
    values = np.asarray(image).astype(np.uint16)
    highest = (values >> (opened.bits_per_sample - 8)).astype(np.uint8)
    grey = Image.fromarray(255 - highest if opened.white_is_zero else highest)
    if "transparency" in image.info:
        opaque = values != image.info["transparency"]
        grey.putalpha(Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8)))
    return grey
