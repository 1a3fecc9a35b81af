"""The files that are one sample: an image with its text and metadata, by their names."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import TypeVar

from twinlens.images.file_names import READABLE_SUFFIXES

TEXTS = ("txt", "caption", "json")
"""Endings of files beside an image that may hold captions."""

CAPTIONS = ("txt", "caption")
"""Those of files that hold nothing else."""

_Value = TypeVar("_Value")


def split_name(name: str) -> tuple[str, str]:
    """The key and the extension of a file: what is before and after the first dot.

    Example:
        >>> split_name("./a.b/c.Input.JPG")
        ('a.b/c', 'input.jpg')
    """
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, ext = base.partition(".")
    return folder + slash + stem, ext.lower()


def last_ending(ext: str) -> str:
    """The last part of an extension: `jpg` of `input.jpg`."""
    return ext.rpartition(".")[2]


@lru_cache(4096)  # a tar has few different ones, and many of each
def is_image_ext(ext: str) -> bool:
    """True if an extension is that of an image that can be read."""
    return f".{last_ending(ext)}" in READABLE_SUFFIXES


def image_members(members: Collection[str]) -> list[str]:
    """The extensions of images, those of one part before `mask.png` and its like."""
    images = [ext for ext in members if is_image_ext(ext)]
    if len(images) > 1:
        images.sort(key=lambda ext: ext.count("."))  # stable: else as they lie in the tar
    return images


def find_member(members: Collection[str], ending: str) -> str | None:
    """The extension with this ending: itself, else that beside the image, else the first.

    Example:
        >>> find_member(["input.jpg", "output.txt"], "txt")
        'output.txt'
    """
    if ending in members:
        return ending
    found = [ext for ext in members if last_ending(ext) == ending]
    if len(found) > 1 and (images := image_members(members)):
        beside = f"{_stem(images[0])}.{ending}"
        return beside if beside in found else found[0]
    return found[0] if found else None


def _stem(ext: str) -> str:
    return ext.rpartition(".")[0]


def split_dotted(key: str, members: dict[str, _Value]) -> list[tuple[str, dict[str, _Value]]]:
    """Part files that only share the name before the first dot, where they are several samples.

    Where one image has no name of its own before the last dot (`cat.jpg`), another (`cat.2.jpg`) is
    a sample if a caption has its name, too. Where all have one, they are samples if the texts have
    these names: at least one of them, or all other files. Then no text speaks of all of them.

    Example:
        >>> names = ["5.jpg", "5.txt", "7.jpg", "7.txt"]
        >>> [(key, list(files)) for key, files in split_dotted("img_0", dict.fromkeys(names))]
        [('img_0.5', ['jpg', 'txt']), ('img_0.7', ['jpg', 'txt'])]
    """
    images = [ext for ext in members if is_image_ext(ext)]
    if len(images) < 2:  # nearly all
        return [(key, members)]
    own = set(map(_stem, images))
    others = set(map(_stem, members))
    told = {_stem(ext) for ext in members if last_ending(ext) in TEXTS}
    if "" in own:
        captioned = {_stem(ext) for ext in members if last_ending(ext) in CAPTIONS}
        return _parts(key, members, (own & captioned) - {""})
    if len(own) < len(images) or "" in others or not (others == own or told & own):
        return [(key, members)]
    return _parts(key, members, others)


def _parts(
    key: str, members: dict[str, _Value], stems: set[str]
) -> list[tuple[str, dict[str, _Value]]]:
    """A sample of each of these names, and one of all other files if there are some."""
    parts: dict[str, dict[str, _Value]] = {}
    for ext, value in members.items():
        stem, _, ending = ext.rpartition(".")
        if stem in stems:
            parts.setdefault(f"{key}.{stem}", {})[ending] = value
        else:
            parts.setdefault(key, {})[ext] = value
    return list(parts.items())
