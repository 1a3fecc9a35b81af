"""Facts of an image that are known without its pixels: size, date, camera, licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from twinlens.images.codecs import DecodeLimits, open_header
from twinlens.images.decode import read_image_file
from twinlens.images.exif import orientation_of_info
from twinlens.images.metadata import find_metadata, read_tags

_TURNED_ORIENTATIONS = frozenset({5, 6, 7, 8})
"""Those that exchange width and height."""

_MAKE, _MODEL, _COPYRIGHT = 0x010F, 0x0110, 0x8298
_DATE_TAGS = (0x9003, 0x9004, 0x0132)
"""Dates of the photograph, of its digital form and of the last change of the file, in order."""
_TAGS = frozenset({_MAKE, _MODEL, _COPYRIGHT, *_DATE_TAGS})

_DATE_PATTERN = re.compile(
    r"\s*(\d{4})[:/.-](\d\d?)[:/.-]\s?(\d\d?)[ T]\s?(\d\d?):\s?(\d\d?):\s?(\d\d?)(?!\d)", re.ASCII
)
_FIRST_YEAR = 1826
"""Of the oldest photograph that is left: dates before it are of clocks that were never set."""

_MAX_LENGTH = 1000
"""Of a text, in bytes."""

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LICENCE_NAMES = (
    "{http://ns.adobe.com/xap/1.0/rights/}UsageTerms",
    "{http://creativecommons.org/ns#}license",
    "{http://web.resource.org/cc/}license",
)
_XMP_ROOTS = (b"x:xmpmeta", b"rdf:RDF")

_DEFAULT_LIMITS = DecodeLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """The facts of an image; what its file does not tell, or makes no sense, is None.

    Attributes:
        width: In pixels, upright: as `decode_image` gives it.
        height: In pixels, upright.
        taken: When it was taken: "YYYY-MM-DDTHH:MM:SS" of an unknown time zone.
        camera: Make and model.
        licence: A text or an address.
    """

    width: int
    height: int
    taken: str | None = None
    camera: str | None = None
    licence: str | None = None


def read_facts(
    data: bytes | Path, *, limits: DecodeLimits = _DEFAULT_LIMITS, name: str | None = None
) -> ImageFacts:
    """Read the facts of an encoded image from its header and metadata.

    The pixels are not decoded, so that they may be damaged. Metadata that is damaged is as if it
    were not there. A PNG's is also found behind its pixels. Dates and cameras are read from EXIF,
    licences from XMP (usage terms, Creative Commons) and else from EXIF (copyright).

    Args:
        data: The file's path or its bytes, of any format that `decode_image` reads.
        limits: What the file may ask for.
        name: What messages call the image; by default its path.

    Raises:
        DataError: The file cannot be opened: it is missing, no image, its header is damaged, or it
            is beyond the limits.
    """
    name = name or ("<bytes>" if isinstance(data, bytes) else str(data))
    if not isinstance(data, bytes):
        data = read_image_file(data, limits=limits, name=name)
    opened = open_header(data, name, limits)
    width, height = opened.image.size
    limits.check_size(name, width, height)
    metadata = find_metadata(data, opened.image)
    if not opened.is_upright and orientation_of_info(metadata.info) in _TURNED_ORIENTATIONS:
        width, height = height, width
    tags = read_tags(metadata.exif, _TAGS, limit=_MAX_LENGTH)
    return ImageFacts(
        width=width,
        height=height,
        taken=_parse_date(tags),
        camera=_join_camera(_first_text(tags, _MAKE), _first_text(tags, _MODEL)),
        licence=_parse_licence(metadata.xmp) or _join_copyright(tags),
    )


def _parse_date(tags: Mapping[int, bytes]) -> str | None:
    """The first date that makes sense."""
    for tag in _DATE_TAGS:
        match = _DATE_PATTERN.match(_first_text(tags, tag))
        try:
            date = datetime(*map(int, match.groups())) if match else None  # pyright: ignore
        except ValueError:  # such as the 30th of February
            continue
        if date is not None and date.year >= _FIRST_YEAR:
            return date.isoformat()
    return None


def _join_camera(make: str, model: str) -> str | None:
    """Make and model; many models begin with a word of the make."""
    if model and model.casefold().partition(" ")[0] in make.casefold().split(" "):
        return model
    return f"{make} {model}".strip() or None


def _join_copyright(tags: Mapping[int, bytes]) -> str | None:
    """The photographer's and the editor's copyright, which a zero byte parts."""
    parts = map(_clean_text, tags.get(_COPYRIGHT, b"").split(b"\0"))
    return "; ".join(filter(None, parts)) or None


def _first_text(tags: Mapping[int, bytes], tag: int) -> str:
    """The text before the first zero byte: cameras leave what they like behind it."""
    return _clean_text(tags.get(tag, b"").partition(b"\0")[0])


def _clean_text(value: bytes) -> str:
    """UTF-8, else Latin-1, in one line that no terminal takes for a command."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return _one_line(text)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _parse_licence(xmp: bytes) -> str | None:
    """The licence in an XMP packet (ISO 16684-1); None where it is no XML."""
    if b"UsageTerms" not in xmp and b"license" not in xmp:  # of most: parsing takes longest
        return None
    try:
        root = ElementTree.fromstring(_cut_to_root(xmp))
    except (ElementTree.ParseError, ValueError):
        return None
    elements = list(root.iter())
    for name in _LICENCE_NAMES:
        for element in elements:
            value = element.get(name) or (_property_text(element) if element.tag == name else "")
            if text := _one_line(value[:_MAX_LENGTH]):
                return text
    return None


def _cut_to_root(xmp: bytes) -> bytes:
    """The XML without what is around its root: blanks, zero bytes, a document type with bombs."""
    for name in _XMP_ROOTS:
        start, end = xmp.find(b"<" + name), xmp.rfind(b"</" + name)
        if 0 <= start < end:
            return xmp[start:end] + b"</" + name + b">"
    return b""


def _property_text(element: ElementTree.Element) -> str:
    """The value of a property: an address, the text of one of several languages, or a text."""
    if resource := element.get(f"{_RDF}resource"):
        return resource
    languages = element.findall(f".//{_RDF}li")
    languages.sort(
        key=lambda one: one.get("{http://www.w3.org/XML/1998/namespace}lang") != "x-default"
    )
    return "".join((languages[0] if languages else element).itertext())
