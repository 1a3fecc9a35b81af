"""File names of images: which endings are read, which are only known, and what is no image.

By names alone, without a decoder: what a file holds is seen when it is opened (`images.py`).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import PurePosixPath

EXTRA = "formats"
"""The extra that brings the optional decoders."""

_READ = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PNM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Formats that every installation reads, and their endings."""

_OPTIONAL = {
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "JPEG XL": (".jxl",),
}
"""Formats that are read where a decoder is installed."""

_DECODERS = {"AVIF": ("PIL._avif",), "HEIC": ("pi_heif", "pillow_heif"), "JPEG XL": ("pylibjxl",)}
"""The modules of which one decodes a format."""

_RAW = (
    ".raw .dng .cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .orf .rw2 .raf .pef .srw .x3f .3fr .fff "
    ".iiq .erf .mef .mos .mrw .kdc .dcr .rwl .gpr"
)
_OTHERS = {
    "camera raw": _RAW,
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

_HIDDEN = frozenset(
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
"""What systems put beside images, in small letters."""

_HIDDEN_PART = re.compile(
    rf"(?:^|[/\\])(?:\.(?!\.?(?:[/\\]|$))|(?:{'|'.join(map(re.escape, _HIDDEN))})(?:[/\\]|$))",
    re.IGNORECASE,
)
"""A part of a path that begins with a dot (not "." or ".." itself), or is one of these."""


@cache
def missing(kind: str) -> str | None:
    """What has to be run before a format can be read, or None where it can be.

    Args:
        kind: Such as "PNG" or "HEIC".
    """
    modules = _DECODERS.get(kind, ())
    if not modules or any(map(_installed, modules)):
        return None
    what = "pillow>=11.3" if kind == "AVIF" else f"twinlens[{EXTRA}]"
    return f"pip install '{what}'"


def _installed(module: str) -> bool:
    return find_spec(module) is not None


SUFFIXES = frozenset(
    ending
    for kind, endings in (_READ | _OPTIONAL).items()
    if missing(kind) is None
    for ending in endings
)
"""File name endings of the formats that this installation reads, lower case."""

_UNREADABLE = {
    ending: f"{kind} image ({ending}), which is not read"
    for kind, endings in _OTHERS.items()
    for ending in endings.split()
} | {
    ending: f"{kind} image ({ending}), which needs {missing(kind)}"
    for kind, endings in _OPTIONAL.items()
    if missing(kind) is not None
    for ending in endings
}


def is_hidden(name: str) -> bool:
    """Whether a file is hidden, in a hidden folder, or one that a system put there.

    Args:
        name: A name or a path, within the data set: what is above it says nothing of the file.

    Example:
        >>> [is_hidden(name) for name in ("a/b.jpg", "./b.jpg", "a/._b.jpg", "__MACOSX/a/b.jpg")]
        [False, False, True, True]
    """
    return _HIDDEN_PART.search(name) is not None


def is_image_name(name: str) -> bool:
    """Whether a file is an image that this installation reads, by its name's last ending.

    Args:
        name: As `is_hidden` takes it; hidden files are no images.

    Example:
        >>> [is_image_name(name) for name in ("a.b/IMG_1.JPG", "x.input.jpe", "._x.jpg", "x.txt")]
        [True, True, False, False]
    """
    return ending(name) in SUFFIXES and not is_hidden(name)


def unreadable_format(name: str) -> str | None:
    """Why an image cannot be read here, by its name's last ending; None where it can, or is none.

    Example:
        >>> unreadable_format("drawings/logo.SVG")
        'SVG image (.svg), which is not read'
    """
    return None if is_hidden(name) else _UNREADABLE.get(ending(name))


def ending(name: str) -> str:
    """The last ending of a file's name, with its dot, in small letters; empty if it has none."""
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()
