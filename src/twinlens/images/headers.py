"""The first bytes of an encoded image: its format, its size, and whether it is read."""

from __future__ import annotations

import struct

from twinlens.images import tiff
from twinlens.images.tiff import UnsupportedImageError

_MAGIC_BYTES: dict[str, bytes | tuple[bytes, ...]] = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": b"BM",
    "TIFF": tiff.MAGIC,
    "PNM": tuple(b"P%d%c" % (number, blank) for number in range(1, 7) for blank in b" \t\r\n"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
}

_ISOBMFF_BRANDS = {
    "AVIF": frozenset({b"avif", b"avis"}),
    "HEIC": frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}),
}
"""Brands of files in ISO's container (ISO/IEC 14496-12); the first that fits counts."""

_UNSUPPORTED_MAGIC_BYTES: dict[str, bytes | tuple[bytes, ...]] = {
    "a JPEG 2000 image": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "a Photoshop image": b"8BPS",
    "a GIMP image": b"gimp xcf",
    "an OpenEXR image": b"\x76\x2f\x31\x01",
    "a Radiance HDR image": (b"#?RADIANCE", b"#?RGBE"),
    "an icon": (b"\0\0\x01\0", b"\0\0\x02\0", b"icns"),
    "a DDS image": b"DDS ",
    "a QOI image": b"qoif",
    "a PAM image": b"P7\n",
    "a floating-point image": (b"PF\n", b"Pf\n"),
    "a JPEG XR image": b"II\xbc",
    "a camera raw image": (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW"),
    "a PostScript file": b"%!PS",
    "a PDF file": b"%PDF",
}

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_LS, _START_OF_SCAN, _END_OF_IMAGE = 0xF7, 0xDA, 0xD9


def detect_format(data: bytes) -> str | None:
    """Return the format of the first bytes, among those that can be read."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    for kind, magic in _MAGIC_BYTES.items():
        if data.startswith(magic):
            return kind
    brands = _read_isobmff_brands(data)
    return next((kind for kind, known in _ISOBMFF_BRANDS.items() if known & brands), None)


def detect_unsupported_format(data: bytes) -> str | None:
    """Describe a file of a known format that is not read, such as "a Photoshop image"."""
    if b"crx " in _read_isobmff_brands(data):
        return "a camera raw image"
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"<svg", b"<?xml", b"<!DOCTYPE svg")) and b"<svg" in data[:65536]:
        return "an SVG image"
    return next(
        (what for what, magic in _UNSUPPORTED_MAGIC_BYTES.items() if data.startswith(magic)), None
    )


def _read_isobmff_brands(data: bytes) -> frozenset[bytes]:
    """The major brand of a file in ISO's container, and those it is compatible with."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4], "big"), 1024)
    return frozenset({data[8:12], *(data[place : place + 4] for place in range(16, end, 4))})


def check_jpeg(data: bytes) -> None:
    """Refuse what a decoder of photographs takes for damage: other than 8 bits, JPEG-LS.

    Raises:
        UnsupportedImageError: It is such a file.
    """
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 5 <= len(data):
        marker = data[place + 1]
        if marker in _START_OF_FRAME and data[place + 4] != 8:
            raise UnsupportedImageError(
                f"a JPEG image of {data[place + 4]} bits a sample, "
                "which the decoder does not support, expected 8"
            )
        if marker == _JPEG_LS:
            raise UnsupportedImageError("a JPEG-LS image, which is not read")
        if marker in _START_OF_FRAME or marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        if marker == 0xFF:  # filling
            place += 1
        elif marker in (0, 1) or 0xD0 <= marker <= 0xD8:  # no length follows
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas; Pillow allocates it on opening (RFC 9649, section 2)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return _read_uint24(data, 24) + 1, _read_uint24(data, 27) + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_uint24(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 3], "little")


def gif_size(data: bytes) -> tuple[int, int]:
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
