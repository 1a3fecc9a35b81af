"""Encoded images opened: by their first bytes, within limits, by a decoder of that format alone."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from twinlens.errors import DataError, one_line
from twinlens.images.file_names import missing_decoder
from twinlens.images.headers import (
    check_jpeg,
    detect_format,
    detect_unsupported_format,
    gif_size,
    webp_size,
)
from twinlens.images.tiff import UnsupportedImageError, extract_first_image

READABLE_FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, AVIF, HEIC or JPEG XL"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """Limits of a file; checked against its header, before a pixel is allocated.

    Attributes:
        max_bytes: Of the encoded file.
        max_pixels: Width times height. 100 million take 300 MB while they are decoded.
        max_side: The longer of width and height.
    """

    max_bytes: int = 128 * 2**20
    max_pixels: int = 100_000_000
    max_side: int = 32_768

    def check_bytes(self, name: str, num_bytes: int) -> None:
        """Refuse a file of `num_bytes` bytes if that is too many, or none."""
        if num_bytes == 0:
            raise DataError(f"{name}: got an empty file, expected {READABLE_FORMATS}")
        if num_bytes > self.max_bytes:
            raise DataError(f"{name}: got {num_bytes:,} bytes, expected at most {self.max_bytes:,}")

    def check_size(self, name: str, width: int, height: int) -> None:
        """Refuse an image of this size if it is too large, or has no pixels."""
        got = f"{name}: got {width:,} x {height:,} pixels, expected"
        if width < 1 or height < 1:
            raise DataError(f"{got} at least 1 x 1")
        if max(width, height) > self.max_side:
            raise DataError(f"{got} sides of at most {self.max_side:,}")
        if width * height > self.max_pixels:
            raise DataError(f"{got} at most {self.max_pixels:,} in all")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedImage:
    """An image that is open, and what its decoder does not say.

    Attributes:
        image: The image; its pixels are not decoded yet where the decoder can wait.
        is_upright: Whether the decoder gives it upright: nobody shall turn it again.
        bits_per_sample: How many a sample has where Pillow holds more than 8.
        white_is_zero: Whether the largest of such samples is black.
    """

    image: Image.Image
    is_upright: bool = False
    bits_per_sample: int = 16
    white_is_zero: bool = False


_Opener = Callable[[bytes, str, DecodeLimits], OpenedImage]


def open_encoded(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    """Open an encoded image without decoding it; what its header says of its size is in limits.

    Raises:
        DataError: It is of no format that is read, its decoder is missing, its header is damaged,
            or it is too large.
    """
    return _open_by(_OPENERS, data, name, limits)


def open_header(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    """As `open_encoded`, for its size and metadata: the pixels are never decoded, nor can be.

    Raises:
        DataError: As there.
    """
    return _open_by(_HEADER_OPENERS, data, name, limits)


def _open_by(
    openers: Mapping[str, _Opener], data: bytes, name: str, limits: DecodeLimits
) -> OpenedImage:
    limits.check_bytes(name, len(data))
    kind = detect_format(data)
    if kind is None:
        what = detect_unsupported_format(data)
        got = f"{what}, which is not read" if what else f"a file that begins with {data[:8]!r}"
        raise DataError(f"{name}: got {got}, expected {READABLE_FORMATS}")
    if (needed := missing_decoder(kind)) is not None:
        article = "an" if kind == "AVIF" else "a"
        raise DataError(f"{name}: got {article} {kind} image, which needs {needed}")
    try:
        # Not Image.open: it warns of large images by a line of its own, ours is in `limits`.
        return openers[kind](data, name, limits)
    except DataError:
        raise
    except UnsupportedImageError as error:
        raise DataError(f"{name}: got {error}") from error
    # On broken files decoders raise almost anything: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise decode_error(name, kind, error) from error


def decode_error(name: str, format_name: str, error: Exception) -> DataError:
    """The error of a file that its decoder gave up on, in one line."""
    reason = one_line(error)
    if _UNSUPPORTED_PATTERN.search(reason):
        return DataError(
            f"{name}: got a {format_name} image of a kind that is not supported ({reason}), "
            "expected a common one"
        )
    return DataError(
        f"{name}: got a damaged or cut-off {format_name} image ({reason}), expected a whole one"
    )


_UNSUPPORTED_PATTERN = re.compile(r"unsupported bmp|unknown pixel mode|cannot handle", re.I)
"""Messages of decoders about undamaged files that they do not support."""


class _JpegWithoutExif(JpegImagePlugin.JpegImageFile):
    """A JPEG opened without a look into its EXIF, where Pillow seeks a resolution, and warns."""

    def _open(self) -> None:
        self.info["dpi"] = (72, 72)  # what it takes where it finds none
        super()._open()


class _HeaderOnly(Image.Image):
    """An image of a size, without pixels."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self._size = width, height


class _CheckedTiff(TiffImagePlugin.TiffImageFile):
    """A TIFF whose size was checked: Pillow's own check would warn below our limit."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)
        super().load_prepare()


def _open_jpeg(data: bytes, *_: object) -> OpenedImage:
    check_jpeg(data)
    return OpenedImage(image=_JpegWithoutExif(io.BytesIO(data)))


def _open_tiff(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    tiff = extract_first_image(data)
    limits.check_size(name, *tiff.size)
    limits.check_size(f"{name}: a tile", *tiff.tile_size)
    if tiff.compression not in TiffImagePlugin.COMPRESSION_INFO:
        raise UnsupportedImageError(
            f"a TIFF image of compression {tiff.compression}, which the decoder does not support"
        )
    image = _CheckedTiff(io.BytesIO(tiff.data))
    return OpenedImage(
        image=image,
        is_upright=True,
        bits_per_sample=tiff.bits_per_sample,
        white_is_zero=tiff.white_is_zero,
    )


def _open_avif(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    _check_isobmff_sizes(data, name, limits)
    plugin = import_module("PIL.AvifImagePlugin")
    return OpenedImage(image=plugin.AvifImageFile(io.BytesIO(_hide_isobmff_exif(data))))


def _open_heic(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    _check_isobmff_sizes(data, name, limits)
    decoder: Any = import_module("pi_heif" if find_spec("pi_heif") else "pillow_heif")
    image = cast("Image.Image", decoder.HeifImageFile(io.BytesIO(_hide_isobmff_exif(data))))
    return OpenedImage(image=image, is_upright=True)


def _open_jxl(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    _open_jxl_header(data, name, limits)
    decoder: Any = import_module("pylibjxl")
    return OpenedImage(image=Image.fromarray(decoder.decode(data)), is_upright=True)


def _open_jxl_header(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
    decoder: Any = import_module("pylibjxl")
    header = decoder.probe(data)
    limits.check_size(name, header["width"], header["height"])
    return OpenedImage(image=_HeaderOnly(header["width"], header["height"]), is_upright=True)


def _check_isobmff_sizes(data: bytes, name: str, limits: DecodeLimits) -> None:
    """Refuse a file in ISO's container by the sizes it tells (`ispe`); not all need be shown."""
    for sides in re.findall(rb"\0\0\0\x14ispe\0{4}(.{8})", data, flags=re.DOTALL):
        limits.check_size(name, *struct.unpack(">II", sides))


def _hide_isobmff_exif(data: bytes) -> bytes:
    """A file in ISO's container whose EXIF no decoder finds.

    Which way up its image is held is said elsewhere (`irot`, `imir`; ISO/IEC 23000-22, section
    7.3), and decoders that look at EXIF as well stop where that is damaged.
    """
    return re.sub(rb"(infe\x02.{7}|infe\x03.{9})Exif", rb"\1Exxx", data, flags=re.DOTALL)


def _make_opener(
    plugin: Callable[[io.BytesIO], Image.Image],
    read_size: Callable[[bytes], tuple[int, int]] | None = None,
) -> _Opener:
    """An opener of a format; without `read_size` its size is only known once it is open."""

    def opener(data: bytes, name: str, limits: DecodeLimits) -> OpenedImage:
        if read_size is not None:
            limits.check_size(name, *read_size(data))
        return OpenedImage(image=plugin(io.BytesIO(data)))

    return opener


_OPENERS: dict[str, _Opener] = {
    "JPEG": _open_jpeg,
    "PNG": _make_opener(PngImagePlugin.PngImageFile),
    "WebP": _make_opener(WebPImagePlugin.WebPImageFile, webp_size),
    "GIF": _make_opener(GifImagePlugin.GifImageFile, gif_size),
    "BMP": _make_opener(BmpImagePlugin.BmpImageFile),
    "TIFF": _open_tiff,
    "PNM": _make_opener(PpmImagePlugin.PpmImageFile),
    "AVIF": _open_avif,
    "HEIC": _open_heic,
    "JPEG XL": _open_jxl,
}
_HEADER_OPENERS = _OPENERS | {"JPEG XL": _open_jxl_header}  # whose decoder cannot wait
