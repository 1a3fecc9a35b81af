"""Files with captions beside an image of a folder, found by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from twinlens.data.sources.metadata_files import LISTS
from twinlens.data.sources.sample_files import TEXTS


class TextsBeside:
    """The texts of each image of a folder: those of its name without the last ending.

    Where there are none, those of its name before the first dot, if no other image shares that:
    `s.output.txt` belongs to `s.input.jpg`.
    """

    def __init__(self, files: Sequence[Path], images: Sequence[Path]) -> None:
        self._by_stem: dict[Path, dict[str, Path]] = {}
        self._by_first_dot: dict[Path, dict[str, Path]] = {}
        self._images = Counter(map(_first_dot, images))
        for path in files:
            ending = path.suffix.lower().removeprefix(".")
            if ending in TEXTS and path.name not in LISTS:
                self._by_stem.setdefault(path.with_suffix(""), {})[ending] = path
                self._by_first_dot.setdefault(_first_dot(path), {})[ending] = path

    def of(self, image: Path) -> Mapping[str, Path]:
        """The texts of an image by their endings: `txt`, `caption`, `json`."""
        own = self._by_stem.get(image.with_suffix(""))
        if own is not None or self._images[_first_dot(image)] > 1:
            return own or {}
        return self._by_first_dot.get(_first_dot(image), {})


def _first_dot(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] or path.name)
