"""EXIF and XMP as they lie in an encoded image, found without its pixels.

Decoders hand over some of it, and are kept from the rest (`codecs.py`) because they stop where it
is damaged. What they do not give is found here by the structure of each container. Damage is as if
nothing were there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from PIL import Image

from twinlens.images.exif import raw_exif
from twinlens.images.headers import detect_format

_MAX_BYTES = 2**20
"""Of an XMP packet, and of PNG's texts that are compressed. Real ones have some kilobytes."""

_MAX_PARTS = 100_000
"""Parts of a container that are walked: a file of millions of empty ones shall not take minutes."""

_XMP_START, _XMP_END = b"<x:xmpmeta", b"</x:xmpmeta>"
_PNG_KEYS = frozenset({"Raw profile type exif", "XML:com.adobe.xmp"})
_XMP_TAG, _EXIF_DIRECTORY_TAG = 700, 0x8769
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_BYTES_TYPES = frozenset({1, 2, 7, 129})
"""TIFF's types of single bytes: bytes, ASCII, anything, and UTF-8 since EXIF 3.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedMetadata:
    """The metadata of an encoded image.

    Attributes:
        info: Pillow's `Image.info`, with what a PNG has behind its pixels.
        exif: From TIFF's header on (EXIF 3.0, section 4.5); empty where there is none.
        xmp: An XMP packet or the `x:xmpmeta` in it; empty where there is none.
    """

    info: Mapping[Any, Any]
    exif: bytes
    xmp: bytes


def find_metadata(data: bytes, image: Image.Image) -> EmbeddedMetadata:
    """The metadata of an encoded image that is open, and need not be loaded.

    Of BigTIFF, of JPEG XL's compressed boxes and of XMP beyond a megabyte nothing is read.
    """
    kind = detect_format(data)
    info = image.info
    exif: bytes | None = None
    xmp = info.get("xmp")
    if kind == "PNG":
        info = info | _read_png_tail(data)
        xmp = info.get("xmp")
    elif kind == "TIFF":
        exif, xmp = data, read_tags(data, {_XMP_TAG}, limit=_MAX_BYTES).get(_XMP_TAG)
    elif kind in ("AVIF", "HEIC"):
        exif = _find_isobmff_exif(data)
    elif kind == "JPEG XL":
        exif = _find_jxl_exif(data)
    if not xmp and kind in ("GIF", "HEIC", "JPEG XL"):
        xmp = _scan_for_xmp(data)
    if exif is None:
        exif = raw_exif(info)
    return EmbeddedMetadata(
        info=info,
        exif=exif or b"",
        xmp=xmp if isinstance(xmp, bytes) and len(xmp) <= _MAX_BYTES else b"",
    )


def read_tags(exif: bytes, wanted: Collection[int], *, limit: int) -> dict[int, bytes]:
    """Values of single bytes by their tags: of the first directory, and of EXIF's that it names.

    Args:
        exif: From TIFF's header on, or with the "Exif" before it that some containers have.
        wanted: Their tags.
        limit: Bytes of a value, beyond which it is cut.
    """
    tiff = exif.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0")  # some programs write it twice
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return {}
    start = struct.unpack_from(f"{order}I", tiff, 4)[0]
    found, inner = _read_directory(tiff, order, start, wanted, limit)
    if inner is not None:
        found = _read_directory(tiff, order, inner, wanted, limit)[0] | found
    return found


def _read_directory(
    tiff: bytes, order: str, start: int, wanted: Collection[int], limit: int
) -> tuple[dict[int, bytes], int | None]:
    """The values of a directory, and the place of EXIF's own (TIFF 6.0, section 2)."""
    found: dict[int, bytes] = {}
    inner = None
    if start + 2 > len(tiff):
        return found, inner
    end = start + 2 + 12 * struct.unpack_from(f"{order}H", tiff, start)[0]
    for place in range(start + 2, min(end, len(tiff) - 11), 12):
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", tiff, place)
        if tag == _EXIF_DIRECTORY_TAG:
            inner = value
        elif tag in wanted and kind in _BYTES_TYPES and tag not in found:
            first = place + 8 if count <= 4 else value
            found[tag] = tiff[first : first + min(count, limit)]
    return found, inner


def _read_png_tail(data: bytes) -> dict[str, Any]:
    """The metadata behind the pixels, which Pillow only finds by decoding them."""
    found: dict[str, Any] = {}
    is_behind = False
    for kind, start, end in islice(_png_chunks(data), _MAX_PARTS):
        if kind == b"IDAT":
            is_behind = True
        elif is_behind and kind == b"eXIf":
            found["exif"] = b"Exif\0\0" + data[start:end]
        elif is_behind and kind in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, rest = data[start:end].partition(b"\0")
            name = key.decode("latin-1")
            if name in _PNG_KEYS - found.keys():
                text = _png_text(kind, rest)
                found[name] = text.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")
                if kind == b"iTXt":
                    found["xmp"] = text
    return found


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the chunks' contents."""
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, place + 8 + length
        place += 12 + length


def _png_text(kind: bytes, value: bytes) -> bytes:
    """The text of a chunk, behind its key (PNG 3, section 11.3.3)."""
    is_compressed = kind == b"zTXt"
    if kind == b"iTXt":
        is_compressed = value[:1] == b"\1"
        value = value[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif is_compressed:
        value = value[1:]
    if not is_compressed:
        return value
    try:
        return zlib.decompressobj().decompress(value, _MAX_BYTES)
    except zlib.error:
        return b""


def _find_jxl_exif(data: bytes) -> bytes:
    for kind, start, end in islice(_boxes(data, 0, len(data)), _MAX_PARTS):
        if kind == b"Exif":
            return _strip_exif_offset(data[start:end])
    return b""


def _find_isobmff_exif(data: bytes) -> bytes:
    """The item of type "Exif" (ISO/IEC 14496-12, section 8.11; ISO/IEC 23008-12, annex A)."""
    for kind, start, end in islice(_boxes(data, 0, len(data)), _MAX_PARTS):
        if kind == b"meta":
            boxes = islice(_boxes(data, start + 4, end), _MAX_PARTS)
            inside = {kind: (start, end) for kind, start, end in boxes}
            item = _exif_item(data, *inside.get(b"iinf", (0, 0)))
            if item is None or b"iloc" not in inside:
                return b""
            extents = _item_extents(data, *inside[b"iloc"], item, inside.get(b"idat", (0, 0))[0])
            return _strip_exif_offset(b"".join(data[first:last] for first, last in extents))
    return b""


def _exif_item(data: bytes, start: int, end: int) -> int | None:
    """The number of the item, by the box of items' types."""
    first = start + 4 + (2 if data[start : start + 1] == b"\0" else 4)  # version, flags, how many
    for kind, place, _ in islice(_boxes(data, first, end), _MAX_PARTS):
        width = 4 if data[place : place + 1] == b"\3" else 2
        behind = place + 4 + width
        if kind == b"infe" and data[behind + 2 : behind + 6] == b"Exif":
            return int.from_bytes(data[place + 4 : behind], "big")
    return None


def _item_extents(
    data: bytes, start: int, end: int, wanted: int, idat: int
) -> list[tuple[int, int]]:
    """First and last byte of an item's parts, by the box of items' locations."""
    version = int.from_bytes(data[start : start + 1], "big")
    sizes = data[start + 4 : start + 6].hex().ljust(4, "0")
    offset_size, length_size, base_size, index_size = (int(digit, 16) for digit in sizes)
    index_size = index_size if version else 0
    id_size = 4 if version == 2 else 2
    place = start + 6 + id_size

    def take(size: int) -> int:
        nonlocal place
        place += size
        return int.from_bytes(data[place - size : place], "big")

    for _ in range(_MAX_PARTS):
        if place >= end:
            break
        item = take(id_size)
        is_inside = version > 0 and take(2) & 15 == 1
        take(2)
        base = take(base_size) + (idat if is_inside else 0)
        count = take(2)
        if item != wanted:
            place += count * (index_size + offset_size + length_size)
            continue
        extents: list[tuple[int, int]] = []
        for _ in range(min(count, 100)):
            take(index_size)
            first = base + take(offset_size)
            extents.append((first, first + min(take(length_size), _MAX_BYTES)))
        return extents
    return []


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the contents of boxes (ISO/IEC 14496-12, section 4.2)."""
    while start + 16 <= end:
        size, kind, large = struct.unpack_from(">I4sQ", data, start)
        head = 16 if size == 1 else 8
        size = {0: end - start, 1: large}.get(size, size)
        if size < head:
            return
        yield kind, start + head, min(start + size, end)
        start += size


def _strip_exif_offset(block: bytes) -> bytes:
    """EXIF without the number before it that says how far on TIFF's header is."""
    return block[4 + int.from_bytes(block[:4], "big") :]


def _scan_for_xmp(data: bytes) -> bytes:
    """The first packet, sought by its text, as XMP is made for (ISO 16684-1, section 7.3)."""
    start = data.find(_XMP_START)
    end = data.find(_XMP_END, start, start + _MAX_BYTES) if start >= 0 else -1
    return data[start : end + len(_XMP_END)] if end >= 0 else b""
