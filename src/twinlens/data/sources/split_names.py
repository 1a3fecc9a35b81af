"""Splits of a data set, by what their folders and files are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import get_args

from twinlens.types import Split

SPLITS: tuple[Split, ...] = get_args(Split)

NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Names of splits, in lower case, and the split of each: the list of all readers."""

_NAMED = re.compile(
    rf"({'|'.join(NAMES)})(?:[-_ ]?(?:set|split|data|images?|imgs?|\d{{4}}))?", re.IGNORECASE
)


def split_of(name: str) -> Split | None:
    """The split that a folder is called after; None where it is called otherwise.

    Example:
        >>> [split_of(name) for name in ("Training", "val2017", "test_set", "trainer", "bus")]
        ['train', 'val', 'test', None, None]
    """
    match = _NAMED.fullmatch(name)
    return NAMES[match[1].lower()] if match else None


def split_of_file(name: str) -> Split | None:
    """The split that a word of a file's name tells.

    Example:
        >>> [split_of_file(name) for name in ("cc3m-train-0001.tar", "test.csv", "00000.tar")]
        ['train', 'test', None]
    """
    words = re.split(r"[-_. ]", PurePath(name).stem)
    return next((found for word in words if (found := split_of(word))), None)


def by_split(files: Iterable[Path]) -> dict[Split, list[Path]]:
    """Files of the splits that their names tell; empty where these are not several.

    Files of one split alone are one data set, whatever they are called.
    """
    found: dict[Split, list[Path]] = {}
    for file in files:
        if (split := split_of_file(file.name)) is not None:
            found.setdefault(split, []).append(file)
    return found if len(found) > 1 else {}
