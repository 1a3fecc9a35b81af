"""File names of images: which endings are read, which are only known, and what is no image.

By names alone, without a decoder: what a file holds is seen when it is opened (`images.py`).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import PurePosixPath

FORMATS_EXTRA = "formats"
"""The extra that brings the optional decoders."""

_BUILTIN_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Formats that every installation reads, and their endings."""

_OPTIONAL_FORMATS = {
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "JPEG XL": (".jxl",),
}
"""Formats that are read where a decoder is installed."""

_DECODER_MODULES = {
    "AVIF": ("PIL._avif",),
    "HEIC": ("pi_heif", "pillow_heif"),
    "JPEG XL": ("pylibjxl",),
}
"""The modules of which one decodes a format."""

_RAW_SUFFIXES = (
    ".raw .dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .orf .rw2 .raf .pef .srw .x3f .3fr .fff "
    ".iiq .erf .mef .mos .mrw .kdc .dcr .rwl .gpr"
)
_UNSUPPORTED_FORMATS = {
    "camera raw": _RAW_SUFFIXES,
    "SVG": ".svg .svgz",
    "Photoshop": ".psd .psb",
    "GIMP": ".xcf",
    "icon": ".ico .cur .icns",
    "JPEG 2000": ".jp2 .j2k .j2c .jpc .jpf .jpx .jpm",
    "JPEG XR": ".jxr .wdp .hdp",
    "JPEG-LS": ".jls",
    "TGA": ".tga",
    "OpenEXR": ".exr",
    "Radiance HDR": ".hdr",
    "floating-point": ".pfm",
    "PAM": ".pam",
    "DDS": ".dds",
    "PCX": ".pcx",
    "SGI": ".sgi",
    "QOI": ".qoi",
    "X bitmap": ".xbm .xpm",
    "PostScript": ".eps",
    "Windows metafile": ".emf .wmf",
    "DICOM": ".dcm",
    "FITS": ".fits",
}
"""Formats that are known and not read, and their endings."""

_SYSTEM_NAMES = frozenset(
    {
        "__macosx",  # what macOS's archives add
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "system volume information",
        "@eadir",  # thumbnails that Synology's storage makes
        "icon\r",
    }
)
"""Files that operating systems put beside images, in lower case."""

_HIDDEN_PATTERN = re.compile(
    r"(?:^|[/\\])(?:\.(?!\.?(?:[/\\]|$))|"
    rf"(?:{'|'.join(map(re.escape, _SYSTEM_NAMES))})(?:[/\\]|$))",
    re.IGNORECASE,
)
"""A part of a path that begins with a dot (not "." or ".." itself), or is one of these."""


@cache
def missing_decoder(format_name: str) -> str | None:
    """The command to run before a format can be read, or None if it can be.

    Args:
        format_name: Such as "PNG" or "HEIC".
    """
    modules = _DECODER_MODULES.get(format_name, ())
    if not modules or any(map(find_spec, modules)):
        return None
    what = "pillow>=11.3" if format_name == "AVIF" else f"twinlens[{FORMATS_EXTRA}]"
    return f"pip install '{what}'"


READABLE_SUFFIXES = frozenset(
    ending
    for kind, endings in (_BUILTIN_FORMATS | _OPTIONAL_FORMATS).items()
    if missing_decoder(kind) is None
    for ending in endings
)
"""File name endings of the formats that this installation reads, lower case."""

_UNREADABLE_SUFFIXES = {
    ending: f"{kind} image ({ending}), which is not read"
    for kind, endings in _UNSUPPORTED_FORMATS.items()
    for ending in endings.split()
} | {
    ending: f"{kind} image ({ending}), which needs {missing_decoder(kind)}"
    for kind, endings in _OPTIONAL_FORMATS.items()
    if missing_decoder(kind) is not None
    for ending in endings
}


def is_hidden(name: str) -> bool:
    """True if a file is hidden, in a hidden folder, or one that a system put there.

    Args:
        name: A name or a path, within the data set: what is above it says nothing of the file.

    Example:
        >>> [is_hidden(name) for name in ("a/b.jpg", "./b.jpg", "a/._b.jpg", "__MACOSX/a/b.jpg")]
        [False, False, True, True]
    """
    return _HIDDEN_PATTERN.search(name) is not None


def is_image_name(name: str) -> bool:
    """True if a file is an image that this installation reads, by its name's last ending.

    Args:
        name: As `is_hidden` takes it; hidden files are no images.

    Example:
        >>> [is_image_name(name) for name in ("a.b/IMG_1.JPG", "x.input.jpe", "._x.jpg", "x.txt")]
        [True, True, False, False]
    """
    return file_suffix(name) in READABLE_SUFFIXES and not is_hidden(name)


def unreadable_reason(name: str) -> str | None:
    """The reason why an image of this ending cannot be read; None if it can, or is no image.

    Example:
        >>> unreadable_reason("drawings/logo.SVG")
        'SVG image (.svg), which is not read'
    """
    return None if is_hidden(name) else _UNREADABLE_SUFFIXES.get(file_suffix(name))


def file_suffix(name: str) -> str:
    """The last ending of a file's name, with its dot, in small letters; empty if it has none."""
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()
