"""TIFF files cut down to what a decoder needs of the first image in them, and checked before.

A TIFF is a directory of tags: metadata of any size, other pages, and what describes the pixels.
Only the last is passed on. The rest cannot warn, cost memory or end a decode then.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MAGIC = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
"""The first bytes of a file: its byte order, and whether it is a BigTIFF."""

MAGIC = tuple(_MAGIC)

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SUBFILE, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 254, 278, 322, 323
_STRIPS, _TILES, _DNG = (273, 279), (324, 325), 50706
_NEEDED = frozenset(
    {
        _WIDTH,
        _HEIGHT,
        _BITS,
        _COMPRESSION,
        _PHOTOMETRIC,
        266,
        *_STRIPS,
        274,
        277,
        _ROWS_PER_STRIP,
        284,
    }
    | {292, 293, 317, 320, _TILE_WIDTH, _TILE_HEIGHT, *_TILES, 332, 338, 339, 347, 700}
    | {*range(512, 522), 529, 530, 531, 532}
)
"""Tags that pixels depend on: size, samples, compression, colours, orientation (also as XMP)."""

_SCALARS = frozenset(
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

_SIZES = {
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
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_RAW_PHOTOMETRICS = (32803, 34892)
"""A sensor's pixels before they are made colours, as DNG numbers them."""

_MOST_PARTS = 400_000
"""Strips or tiles that are read: 100 million pixels in tiles of 16 x 16 fit."""


class NotReadError(Exception):
    """A file is whole, and of a kind that is not read; says what it is and why."""


@dataclass(frozen=True, slots=True)
class Tiff:
    """The first image of a TIFF.

    Attributes:
        data: A TIFF of that image alone.
        size: Width and height as it lies.
        tile: Width and height of a tile; of the image where it has none.
        compression: By its number.
        bits: Of a sample.
        inverted: Whether large numbers are dark although `data` says otherwise: it calls 16-bit
            grey black-is-zero always, because decoders leave the other kind as a negative.
    """

    data: bytes
    size: tuple[int, int]
    tile: tuple[int, int]
    compression: int
    bits: int
    inverted: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the numbers of a file lie: byte order and the sizes of a directory's parts."""

    order: str
    big: bool

    @property
    def entry(self) -> str:
        """Tag, type, count and value of an entry."""
        return f"{self.order}HHQ8s" if self.big else f"{self.order}HHI4s"

    @property
    def offset(self) -> str:
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def many(self) -> str:
        return f"{self.order}{'Q' if self.big else 'H'}"


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    value: bytes
    """All of it, wherever it lies."""
    inline: bytes
    """What the entry says: the value itself, or where it is."""


def first_image(data: bytes) -> Tiff:
    """The first image of a TIFF, without what is not needed to decode it.

    Raises:
        NotReadError: It is a camera's raw file, or a reduced copy of another image in the file.
        ValueError: A tag is missing or makes no sense.
        struct.error: It is cut off.
    """
    layout = _Layout(*_MAGIC[data[:4]])
    if layout.big and layout.order == ">":
        raise NotReadError("a big-endian BigTIFF, which the decoder does not support")
    entries = _directory(data, layout)
    _refuse_raw(data, entries, layout)
    size = _number(entries, _WIDTH, layout), _number(entries, _HEIGHT, layout)
    _check_parts(entries)
    tile = (
        _number(entries, _TILE_WIDTH, layout, size[0]),
        _number(entries, _TILE_HEIGHT, layout, size[1]),
    )
    bits = _number(entries, _BITS, layout, 1)
    inverted = bits > 8 and _number(entries, _PHOTOMETRIC, layout, 0) == 0
    if inverted:
        entries[_PHOTOMETRIC] = _short(1, layout)
    if _number(entries, _ROWS_PER_STRIP, layout, 0) > size[1]:  # memory is taken for as many
        entries[_ROWS_PER_STRIP] = _long(size[1], layout)
    kept = {tag: entry for tag, entry in entries.items() if tag in _NEEDED}
    return Tiff(
        data=_written(data, kept, layout),
        size=size,
        tile=tile,
        compression=_number(entries, _COMPRESSION, layout, 1),
        bits=bits,
        inverted=inverted,
    )


def _directory(data: bytes, layout: _Layout) -> dict[int, _Entry]:
    """The tags of the first directory, each once."""
    if layout.big and struct.unpack_from(f"{layout.order}HH", data, 4) != (8, 0):
        raise ValueError("a BigTIFF with offsets of another size")
    (start,) = struct.unpack_from(layout.offset, data, 8 if layout.big else 4)
    (many,) = struct.unpack_from(layout.many, data, start)
    place, step = start + struct.calcsize(layout.many), struct.calcsize(layout.entry)
    if many > (len(data) - place) // step:
        raise ValueError("its directory ends beyond the file")
    entries: dict[int, _Entry] = {}
    taken = 0
    for number in range(many):
        tag, kind, count, inline = struct.unpack_from(layout.entry, data, place + number * step)
        if tag in entries or (tag not in _NEEDED and tag not in (_SUBFILE, _DNG)):
            continue
        length = _SIZES.get(kind, 0) * count
        taken += length
        if taken > len(data):
            raise ValueError(f"the values of its tags are larger than the file (tag {tag})")
        if length:
            entries[tag] = _Entry(kind, count, _value(data, inline, length, tag, layout), inline)
    return entries


def _value(data: bytes, inline: bytes, length: int, tag: int, layout: _Layout) -> bytes:
    if length <= len(inline):
        return inline[:length]
    (offset,) = struct.unpack(layout.offset, inline)
    if offset + length > len(data):
        raise ValueError(f"tag {tag} points beyond the file")
    return data[offset : offset + length]


def _number(
    entries: dict[int, _Entry], tag: int, layout: _Layout, otherwise: int | None = None
) -> int:
    """The first number of a tag."""
    entry = entries.get(tag)
    if entry is None and otherwise is not None:
        return otherwise
    if entry is None or entry.kind not in _NUMBERS:
        raise ValueError(f"no tag {tag} that is a whole number")
    return struct.unpack_from(f"{layout.order}{_NUMBERS[entry.kind]}", entry.value)[0]


def _refuse_raw(data: bytes, entries: dict[int, _Entry], layout: _Layout) -> None:
    photometric = _number(entries, _PHOTOMETRIC, layout, 0)
    if data[8:10] == b"CR" or _DNG in entries or photometric in _RAW_PHOTOMETRICS:
        raise NotReadError("a camera raw image, which is not read")
    if _number(entries, _SUBFILE, layout, 0) & 1:
        raise NotReadError(
            "a TIFF that begins with a reduced copy of its image, as camera raw does, "
            "which is not read"
        )


def _check_parts(entries: dict[int, _Entry]) -> None:
    for tag in (*_STRIPS, *_TILES):
        if tag in entries and entries[tag].count > _MOST_PARTS:
            raise ValueError(f"{entries[tag].count:,} strips or tiles")
    for tag in _SCALARS & entries.keys():
        if entries[tag].count != 1:
            raise ValueError(f"{entries[tag].count:,} numbers in tag {tag}, which is one")


def _short(number: int, layout: _Layout) -> _Entry:
    value = struct.pack(f"{layout.order}H", number)
    return _Entry(3, 1, value, value.ljust(8 if layout.big else 4, b"\0"))


def _long(number: int, layout: _Layout) -> _Entry:
    value = struct.pack(f"{layout.order}I", number)
    return _Entry(4, 1, value, value.ljust(8 if layout.big else 4, b"\0"))


def _written(data: bytes, entries: dict[int, _Entry], layout: _Layout) -> bytes:
    """The file with another directory, behind all else, so that what is pointed to stays there."""
    start = len(data) + len(data) % 2
    parts = [struct.pack(layout.many, len(entries))]
    for tag, entry in sorted(entries.items()):
        parts.append(struct.pack(layout.entry, tag, entry.kind, entry.count, entry.inline))
    parts.append(struct.pack(layout.offset, 0))
    place = 8 if layout.big else 4
    offset = struct.pack(layout.offset, start)
    head = data[:place] + offset
    return b"".join([head, data[len(head) :], b"\0" * (start - len(data)), *parts])
