"""The orientation of an image, read without a word about the rest of its metadata.

Pillow reads all of the EXIF and warns of every tag that is damaged, as is common. Warnings cannot
be silenced for one thread alone, so the one number that is needed is read here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from PIL import Image

_ORIENTATION_TAG = 0x0112
_PREFIX = b"Exif\0\0"
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_INTEGER_TYPES = {3: "H", 4: "I"}
"""TIFF's types short and long: what an orientation is given as."""

_RAW_PROFILE = "Raw profile type exif"
_XMP_TYPES = {"xmp": bytes, "XML:com.adobe.xmp": str}
ORIENTATION_KEYS = ("exif", _RAW_PROFILE, *_XMP_TYPES)
"""Keys of `Image.info` that may hold an orientation."""


def read_orientation(image: Image.Image) -> int:
    """The orientation by EXIF, else by XMP: 1 to 8, or nonsense; 1 where none can be read.

    The image must have been loaded: PNG may have it after the pixels.
    """
    if raw_exif(image.info) is None and not isinstance(image.info.get("xmp"), str):
        return image.getexif().get(_ORIENTATION_TAG, 1)
    return orientation_of_info(image.info)


def orientation_of_info(info: Mapping[Any, Any]) -> int:
    """As `read_orientation`, of an `Image.info` alone: an image that is only open is not loaded."""
    found = _parse_orientation(raw_exif(info) or b"")
    if found is not None:
        return found
    without_exif = Image.Image()
    # A text of a PNG may have any key, and be of another type than Pillow expects there.
    without_exif.info = {
        key: info[key] for key, kind in _XMP_TYPES.items() if isinstance(info.get(key), kind)
    }
    return without_exif.getexif().get(_ORIENTATION_TAG, 1)


def raw_exif(info: Mapping[Any, Any]) -> bytes | None:
    """The EXIF as it lies in the file, if there is any, of an `Image.info`."""
    exif = info.get("exif")
    profile = info.get(_RAW_PROFILE)
    if exif is None and isinstance(profile, str):
        try:  # ImageMagick's way: an empty line, a name, a length, then hexadecimal digits
            return bytes.fromhex("".join(profile.split("\n")[3:]))
        except ValueError:
            return b""
    return exif if exif is None or isinstance(exif, bytes) else b""


def _parse_orientation(exif: bytes) -> int | None:
    """The orientation in the first directory of EXIF (TIFF 6.0, section 2)."""
    tiff = exif.removeprefix(_PREFIX).removeprefix(_PREFIX)  # some programs write it twice
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", tiff, place)
            if tag == _ORIENTATION_TAG and kind in _INTEGER_TYPES and count == 1:
                return struct.unpack_from(f"{order}{_INTEGER_TYPES[kind]}", tiff, place + 8)[0]
    except struct.error:
        pass  # cut off
    return None
