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
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from twinlens.errors import DataError, ShapeError, UnknownNameError
from twinlens.images import exif
from twinlens.images.codecs import FORMATS, DecodeLimits, Opened, broken, open_encoded
from twinlens.images.resize import Lying, exact_square, fast_square
from twinlens.types import Decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig
    from twinlens.types import ImageInput

_WHITE = (255, 255, 255)
_LEAST_TIMES = 2
"""How many times the square's side the shortest side of a JPEG decoded smaller keeps at least.

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
    lying = _decode(source, name or _name_of(source), limits, background)
    rgb = lying.upright()
    if rgb is source:
        return rgb.copy()
    if rgb is not lying.rgb:
        for key in exif.KEYS:  # it is upright now: nobody shall turn it again
            rgb.info.pop(key, None)
    return rgb


def to_pixels(
    image: ImageInput, config: PreprocessConfig, decode: Decode = "exact"
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
        return np.array(exact_square(decode_image(image, background=config.background), config))
    if decode != "fast":
        raise UnknownNameError("decode", decode, get_args(Decode))
    least = _LEAST_TIMES * config.image_size
    lying = _decode(image, _name_of(image), _DEFAULT_LIMITS, config.background, least=least)
    return np.array(fast_square(lying, config))


def normalize(
    pixels: UInt8[Tensor, "n 3 height width"], config: PreprocessConfig
) -> Float32[Tensor, "n 3 height width"]:
    """Pixels in 0..255 to float32 with the model's mean and deviation taken out.

    The same operations in the same order as torchvision's `ToTensor` and `Normalize`, on any
    device.
    """

    def channels(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=pixels.device).view(1, -1, 1, 1)

    # 255 is a tensor because GPUs divide by a plain number through its rounded reciprocal.
    # Contiguous: arrays come channels last, and a channel at a time is twice as fast.
    planes = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    scaled = planes.div_(channels((255.0,)))
    return scaled.sub_(channels(config.mean)).div_(channels(config.std))


def _decode(
    source: ImageInput,
    name: str,
    limits: DecodeLimits,
    background: tuple[int, int, int],
    least: int | None = None,
) -> Lying:
    """An image as RGB; the shortest side of a JPEG file need not stay longer than `least`."""
    if isinstance(source, np.ndarray):
        rgb = _from_array(source, name)
        return Lying(rgb, rgb.size)
    given = isinstance(source, Image.Image)
    opened = Opened(image=source) if given else _open(source, name, limits)
    image = opened.image
    limits.check_size(name, *image.size)
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise DataError(
            f"{name}: got numbers of unknown range (mode {image.mode}), expected 8 bits"
        )
    try:
        # An image that was given is its owner's: drafting would leave it small.
        size = None if least is None or given else _drafted(image, least)
        image.load()
        rgb = _to_rgb(image, background, opened)
        return Lying(rgb, size or rgb.size, 1 if opened.turned else exif.orientation(image))
    # On broken files decoders raise almost anything: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise broken(name, image.format or image.mode, error) from error


def _open(source: str | Path | bytes, name: str, limits: DecodeLimits) -> Opened:
    data = source if isinstance(source, bytes) else read_image(source, limits=limits, name=name)
    return open_encoded(data, name, limits)


def _drafted(opened: Image.Image, least: int) -> tuple[float, float] | None:
    """Have a JPEG decoded smaller, if it may be; width and height that it will have then.

    libjpeg rounds the sides up. Where they are taken for the image's own, all of it is shifted
    by part of a pixel, the larger half of the error.
    """
    draft = opened.draft(None, (least, least))
    if draft is None:
        return None
    _, (_, _, width, height) = draft
    return width, height


def _name_of(source: object) -> str:
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
    if array.size == 0:
        raise ShapeError(f"{name}: got {list(array.shape)}, expected at least one pixel")
    if channels == 1:
        return Image.fromarray(array.reshape(array.shape[:2])).convert("RGB")
    return Image.fromarray(array)


def read_image(
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
            raise DataError(f"{name}: got a directory, expected {FORMATS}")
        if not stat.S_ISREG(status.st_mode):  # a pipe would block
            raise DataError(f"{name}: got no regular file, expected {FORMATS}")
        limits.check_bytes(name, status.st_size)
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file, expected {FORMATS}") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{name}: cannot be read: {reason}") from error


def _to_rgb(image: Image.Image, background: tuple[int, int, int], opened: Opened) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _high_byte(image, opened)
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        base = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(base, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_byte(image: Image.Image, opened: Opened) -> Image.Image:
    """Grey of 9 to 16 bits to 8, as Pillow does for 16-bit colour; for grey it would clip."""
    values = np.asarray(image).astype(np.uint16)
    highest = (values >> (opened.bits - 8)).astype(np.uint8)
    grey = Image.fromarray(255 - highest if opened.inverted else highest)
    if "transparency" in image.info:
        opaque = values != image.info["transparency"]
        grey.putalpha(Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8)))
    return grey
