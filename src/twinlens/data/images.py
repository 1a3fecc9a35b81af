"""Pictures: files, bytes, PIL images or arrays, to the pixels that a model reads.

The preprocessing is CLIP's (shortest side resized, centre cropped) or SigLIP's (both sides
resized), then normalised, to the last bit what Pillow does with the same file, unless "fast" is
asked for. No decoder sees a file before its header has been checked.
"""

from __future__ import annotations

import io
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)
from torch import Tensor

from twinlens.data import exif
from twinlens.data.formats import SUFFIXES as SUFFIXES  # noqa: PLC0414
from twinlens.data.squares import Lying, exact_square, fast_square
from twinlens.errors import DataError, ShapeError, UnknownNameError
from twinlens.types import Decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.config import PreprocessConfig
    from twinlens.types import ImageInput

FORMATS = "JPEG, PNG, WebP, GIF or BMP"

_WHITE = (255, 255, 255)
_LEAST_TIMES = 2
"""How many times the square's side the shortest side of a JPEG decoded smaller keeps at least.

With 1.5, sharp photographs are more than one level off.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What a file may ask for; read from its header, before a pixel is allocated.

    Attributes:
        max_bytes: Of the encoded file.
        max_pixels: Width times height. 100 million take 300 MB while they are decoded.
        max_side: The longer of width and height.
    """

    max_bytes: int = 128 * 2**20
    max_pixels: int = 100_000_000
    max_side: int = 32_768

    def check_bytes(self, name: str, got: int) -> None:
        """Refuse a file of `got` bytes if that is too many, or none."""
        if got == 0:
            raise DataError(f"{name}: got an empty file, expected {FORMATS}")
        if got > self.max_bytes:
            raise DataError(f"{name}: got {got:,} bytes, expected at most {self.max_bytes:,}")

    def check_size(self, name: str, width: int, height: int) -> None:
        """Refuse a picture of this size if it is too large, or has no pixels."""
        got = f"{name}: got {width:,} x {height:,} pixels, expected"
        if width < 1 or height < 1:
            raise DataError(f"{got} at least 1 x 1")
        if max(width, height) > self.max_side:
            raise DataError(f"{got} sides of at most {self.max_side:,}")
        if width * height > self.max_pixels:
            raise DataError(f"{got} at most {self.max_pixels:,} in all")


_DEFAULT_LIMITS = DecodeLimits()


def decode_image(
    source: ImageInput,
    *,
    limits: DecodeLimits = _DEFAULT_LIMITS,
    background: tuple[int, int, int] = _WHITE,
    name: str | None = None,
) -> Image.Image:
    """Decode a picture to an RGB image of its own, upright by its EXIF orientation.

    Animations give their first frame, 16 bits their high byte, transparency the background.
    Damaged EXIF is no reason to warn: what cannot be read of it is as if it were not there.

    Args:
        source: JPEG, PNG, WebP, GIF or BMP as a path or bytes; a PIL image; or uint8
            [height, width, 3], [height, width, 1] or [height, width].
        limits: What the file may ask for.
        background: RGB in 0..255.
        name: What messages call the picture; by default its path.

    Raises:
        DataError: The file is missing, no picture, damaged or beyond the limits.
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
    torchvision's `Resize` and `CenterCrop` give, except for pictures hundreds of times as long as
    wide (rounding only). "squash" resizes both sides: bit for bit Pillow's `resize`. Smaller
    pictures are enlarged.

    Args:
        image: The picture.
        config: Side of the square, resizing and background.
        decode: "exact", as above; or "fast", which decodes large JPEG files at a half, a quarter
            or an eighth of their sides and resizes by torch. Of photographs each is within 1 of
            255 levels of exact on average, finer patterns up to 8; the same files are refused.

    Raises:
        DataError: The picture cannot be decoded.
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
    """A picture as RGB; the shortest side of a JPEG file need not stay longer than `least`."""
    if isinstance(source, np.ndarray):
        rgb = _from_array(source, name)
        return Lying(rgb, rgb.size)
    given = isinstance(source, Image.Image)
    opened = source if given else _open(source, name, limits)
    limits.check_size(name, *opened.size)
    if opened.mode in ("I", "F"):
        raise DataError(
            f"{name}: got numbers of unknown range (mode {opened.mode}), expected 8 bits"
        )
    try:
        # An image that was given is its owner's: drafting would leave it small.
        size = opened.size if least is None or given else _drafted(opened, least)
        opened.load()
        return Lying(_to_rgb(opened, background), size, exif.orientation(opened))
    # On broken files decoders raise almost anything: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise _damaged(name, opened.format or opened.mode, error) from error


def _drafted(opened: Image.Image, least: int) -> tuple[float, float]:
    """Have a JPEG decoded smaller, if it may be; width and height that it will have.

    libjpeg rounds the sides up. Where they are taken for the picture's own, all of it is shifted
    by part of a pixel, the larger half of the error.
    """
    draft = opened.draft(None, (least, least))
    if draft is None:
        return opened.size
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


def _open(source: str | Path | bytes, name: str, limits: DecodeLimits) -> Image.Image:
    """A file opened but not decoded; its size, if the header says it plainly, is within limits."""
    if isinstance(source, bytes):
        limits.check_bytes(name, len(source))
        data = source
    else:
        data = read_picture(source, limits=limits, name=name)
    kind = _format_of(data)
    if kind is None:
        raise DataError(f"{name}: got a file that begins with {data[:8]!r}, expected {FORMATS}")
    try:
        if kind in _SIZES:
            limits.check_size(name, *_SIZES[kind](data))
        # Not Image.open: it warns of large pictures by a line of its own, ours is in `limits`.
        return _OPENERS[kind](io.BytesIO(data))
    except DataError:
        raise
    except Exception as error:  # as above
        raise _damaged(name, kind, error) from error


def _damaged(name: str, kind: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{name}: got a damaged or cut-off {kind} picture ({reason}), expected a whole one"
    )


def read_picture(
    path: str | Path, *, limits: DecodeLimits = _DEFAULT_LIMITS, name: str | None = None
) -> bytes:
    """The bytes of a picture's file, not decoded.

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


def _format_of(data: bytes) -> str | None:
    """Which of the formats the first bytes are of."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    for kind, magic in _MAGIC.items():
        if data.startswith(magic):
            return kind
    return None


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas; Pillow allocates it on opening (RFC 9649, section 2)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return _int24(data, 24) + 1, _int24(data, 27) + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _int24(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 3], "little")


def _gif_size(data: bytes) -> tuple[int, int]:
    """Width and height of the screen, or of the first frame where that reaches beyond."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[place] == 0x21:  # extensions: a label, then blocks, the last one empty
        place += 2
        while length := data[place]:
            place += 1 + length
        place += 1
    if data[place] == 0x2C:
        left, top, right, bottom = struct.unpack_from("<4H", data, place + 1)
        width, height = max(width, left + right), max(height, top + bottom)
    return width, height


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG opened without a look into its EXIF, where Pillow seeks a resolution, and warns."""

    def _open(self) -> None:
        self.info["dpi"] = (72, 72)  # what it takes where it finds none
        super()._open()


_MAGIC = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": b"BM",
}
_SIZES: dict[str, Callable[[bytes], tuple[int, int]]] = {"WebP": _webp_size, "GIF": _gif_size}
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": _Jpeg,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _high_byte(image)
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        base = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(base, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_byte(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits, as Pillow does for 16-bit colour; for grey it would clip."""
    values = cast("NDArray[np.uint16]", np.asarray(image))
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" in image.info:
        opaque = values != image.info["transparency"]
        grey.putalpha(Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8)))
    return grey
