"""TIFF files cut down to what a decoder needs of the first image in them, and checked before.

A TIFF is a directory of tags: metadata of any size, other pages, and what describes the pixels.
Only the last is passed on. The rest cannot warn, cost memory or end a decode then.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_LAYOUTS = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
"""The first bytes of a file: its byte order, and whether it is a BigTIFF."""

MAGIC = tuple(_LAYOUTS)

_WIDTH, _HEIGHT, _BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_NEW_SUBFILE_TYPE, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 254, 278, 322, 323
_STRIP_TAGS, _TILE_TAGS, _DNG_VERSION = (273, 279), (324, 325), 50706
_PIXEL_TAGS = frozenset(
    {
        _WIDTH,
        _HEIGHT,
        _BITS_PER_SAMPLE,
        _COMPRESSION,
        _PHOTOMETRIC,
        266,
        *_STRIP_TAGS,
        274,
        277,
        _ROWS_PER_STRIP,
        284,
    }
    | {292, 293, 317, 320, _TILE_WIDTH, _TILE_HEIGHT, *_TILE_TAGS, 332, 338, 339, 347, 700}
    | {*range(512, 522), 529, 530, 531, 532}
)
"""Tags that pixels depend on: size, samples, compression, colours, orientation (also as XMP)."""

_SCALAR_TAGS = frozenset(
    {
        _WIDTH,
        _HEIGHT,
        _COMPRESSION,
        _PHOTOMETRIC,
        266,
        274,
        277,
        _ROWS_PER_STRIP,
        284,
        292,
        293,
        317,
    }
    | {_TILE_WIDTH, _TILE_HEIGHT, 332, *range(512, 515)}
)
"""Those of them that are one number."""

_TYPE_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_SHORT, _LONG = 3, 4
_INTEGER_TYPES = {1: "B", _SHORT: "H", _LONG: "I", 16: "Q"}
_RAW_PHOTOMETRICS = (32803, 34892)
"""A sensor's pixels before they are made colours, as DNG numbers them."""

_MAX_STRIPS_OR_TILES = 400_000
"""Strips or tiles that are read: 100 million pixels in tiles of 16 x 16 fit."""


class UnsupportedImageError(Exception):
    """A file is whole, and of a kind that is not read; says what it is and why."""


@dataclass(frozen=True, slots=True)
class TiffImage:
    """The first image of a TIFF.

    Attributes:
        data: A TIFF of that image alone.
        size: Width and height as it lies.
        tile_size: Width and height of a tile; of the image where it has none.
        compression: By its number.
        bits_per_sample: Of a sample.
        white_is_zero: Whether large numbers are dark although `data` says otherwise: it calls
            16-bit grey black-is-zero always, because decoders leave the other kind as a negative.
    """

    data: bytes
    size: tuple[int, int]
    tile_size: tuple[int, int]
    compression: int
    bits_per_sample: int
    white_is_zero: bool


@dataclass(frozen=True, slots=True)
class _TiffLayout:
    """The layout of a file's numbers: byte order and the sizes of a directory's parts."""

    byte_order: str
    is_big_tiff: bool

    @property
    def entry_format(self) -> str:
        """Tag, type, count and value of an entry."""
        return f"{self.byte_order}HHQ8s" if self.is_big_tiff else f"{self.byte_order}HHI4s"

    @property
    def offset_format(self) -> str:
        return f"{self.byte_order}{'Q' if self.is_big_tiff else 'I'}"

    @property
    def count_format(self) -> str:
        return f"{self.byte_order}{'Q' if self.is_big_tiff else 'H'}"


@dataclass(frozen=True, slots=True)
class _Entry:
    type_code: int
    count: int
    value: bytes
    """All of it, wherever it lies."""
    value_or_offset: bytes
    """The content of the entry: the value itself, or its offset."""


def extract_first_image(data: bytes) -> TiffImage:
    """The first image of a TIFF, without what is not needed to decode it.

    Raises:
        UnsupportedImageError: It is a camera's raw file, or a reduced copy of another image in the
            file.
        ValueError: A tag is missing or makes no sense.
        struct.error: It is cut off.
    """
    layout = _TiffLayout(*_LAYOUTS[data[:4]])
    if layout.is_big_tiff and layout.byte_order == ">":
        raise UnsupportedImageError("a big-endian BigTIFF, which the decoder does not support")
    entries = _read_directory(data, layout)
    _reject_raw(data, entries, layout)
    size = _read_integer(entries, _WIDTH, layout), _read_integer(entries, _HEIGHT, layout)
    _check_counts(entries)
    tile = (
        _read_integer(entries, _TILE_WIDTH, layout, size[0]),
        _read_integer(entries, _TILE_HEIGHT, layout, size[1]),
    )
    bits = _read_integer(entries, _BITS_PER_SAMPLE, layout, 1)
    inverted = bits > 8 and _read_integer(entries, _PHOTOMETRIC, layout, 0) == 0
    if inverted:
        entries[_PHOTOMETRIC] = _make_entry(_SHORT, 1, layout)
    if _read_integer(entries, _ROWS_PER_STRIP, layout, 0) > size[1]:  # memory is taken for as many
        entries[_ROWS_PER_STRIP] = _make_entry(_LONG, size[1], layout)
    kept = {tag: entry for tag, entry in entries.items() if tag in _PIXEL_TAGS}
    return TiffImage(
        data=_with_directory(data, kept, layout),
        size=size,
        tile_size=tile,
        compression=_read_integer(entries, _COMPRESSION, layout, 1),
        bits_per_sample=bits,
        white_is_zero=inverted,
    )


def _read_directory(data: bytes, layout: _TiffLayout) -> dict[int, _Entry]:
    """The tags of the first directory, each once."""
    if layout.is_big_tiff and struct.unpack_from(f"{layout.byte_order}HH", data, 4) != (8, 0):
        raise ValueError("a BigTIFF with offsets of another size")
    (start,) = struct.unpack_from(layout.offset_format, data, 8 if layout.is_big_tiff else 4)
    (many,) = struct.unpack_from(layout.count_format, data, start)
    place, step = start + struct.calcsize(layout.count_format), struct.calcsize(layout.entry_format)
    if many > (len(data) - place) // step:
        raise ValueError("its directory ends beyond the file")
    entries: dict[int, _Entry] = {}
    taken = 0
    for number in range(many):
        tag, kind, count, inline = struct.unpack_from(
            layout.entry_format, data, place + number * step
        )
        if tag in entries or (
            tag not in _PIXEL_TAGS and tag not in (_NEW_SUBFILE_TYPE, _DNG_VERSION)
        ):
            continue
        length = _TYPE_SIZES.get(kind, 0) * count
        taken += length
        if taken > len(data):
            raise ValueError(f"the values of its tags are larger than the file (tag {tag})")
        if length:
            entries[tag] = _Entry(
                kind, count, _read_value(data, inline, length, tag, layout), inline
            )
    return entries


def _read_value(data: bytes, inline: bytes, length: int, tag: int, layout: _TiffLayout) -> bytes:
    if length <= len(inline):
        return inline[:length]
    (offset,) = struct.unpack(layout.offset_format, inline)
    if offset + length > len(data):
        raise ValueError(f"tag {tag} points beyond the file")
    return data[offset : offset + length]


def _read_integer(
    entries: dict[int, _Entry], tag: int, layout: _TiffLayout, default: int | None = None
) -> int:
    """The first number of a tag."""
    entry = entries.get(tag)
    if entry is None and default is not None:
        return default
    if entry is None or entry.type_code not in _INTEGER_TYPES:
        raise ValueError(f"no tag {tag} that is a whole number")
    return struct.unpack_from(f"{layout.byte_order}{_INTEGER_TYPES[entry.type_code]}", entry.value)[
        0
    ]


def _reject_raw(data: bytes, entries: dict[int, _Entry], layout: _TiffLayout) -> None:
    photometric = _read_integer(entries, _PHOTOMETRIC, layout, 0)
    if data[8:10] == b"CR" or _DNG_VERSION in entries or photometric in _RAW_PHOTOMETRICS:
        raise UnsupportedImageError("a camera raw image, which is not read")
    if _read_integer(entries, _NEW_SUBFILE_TYPE, layout, 0) & 1:
        raise UnsupportedImageError(
            "a TIFF that begins with a reduced copy of its image, as camera raw does, "
            "which is not read"
        )


def _check_counts(entries: dict[int, _Entry]) -> None:
    for tag in (*_STRIP_TAGS, *_TILE_TAGS):
        if tag in entries and entries[tag].count > _MAX_STRIPS_OR_TILES:
            raise ValueError(f"{entries[tag].count:,} strips or tiles")
    for tag in _SCALAR_TAGS & entries.keys():
        if entries[tag].count != 1:
            raise ValueError(f"{entries[tag].count:,} numbers in tag {tag}, which is one")


def _make_entry(type_code: int, number: int, layout: _TiffLayout) -> _Entry:
    value = struct.pack(f"{layout.byte_order}{_INTEGER_TYPES[type_code]}", number)
    return _Entry(type_code, 1, value, value.ljust(8 if layout.is_big_tiff else 4, b"\0"))


def _with_directory(data: bytes, entries: dict[int, _Entry], layout: _TiffLayout) -> bytes:
    """The file with another directory, behind all else, so that what is pointed to stays there."""
    start = len(data) + len(data) % 2
    parts = [struct.pack(layout.count_format, len(entries))]
    for tag, entry in sorted(entries.items()):
        parts.append(
            struct.pack(
                layout.entry_format, tag, entry.type_code, entry.count, entry.value_or_offset
            )
        )
    parts.append(struct.pack(layout.offset_format, 0))
    place = 8 if layout.is_big_tiff else 4
    offset = struct.pack(layout.offset_format, start)
    head = data[:place] + offset
    return b"".join([head, data[len(head) :], b"\0" * (start - len(data)), *parts])
