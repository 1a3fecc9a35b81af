"""Directories that hold the splits of a data set: a folder for each, or files named by them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinlens.data.sources.folders import has_data, is_data, shown
from twinlens.data.sources.metadata_files import METADATA_FILES
from twinlens.data.sources.split_names import by_split, split_of
from twinlens.errors import DataError
from twinlens.images.file_names import is_image_name
from twinlens.types import Split

_KINDS = ((".tar",), (".parquet",), (".csv", ".tsv", ".jsonl"))
"""Files that may be splits; of the first kind that is there."""

_Named = list[tuple[Split, Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPart:
    """One split of a directory.

    Attributes:
        root: The directory.
        split: Which it is.
        folder: Its folder, or None where it is files.
        files: Its files of one kind, where it has no folder of its own.
    """

    root: Path
    split: Split
    folder: Path | None = None
    files: tuple[Path, ...] = ()

    @property
    def shown(self) -> str:
        """Its name there, for messages."""
        return repr(self.folder.name if self.folder else self.split)

    @property
    def spec(self) -> str:
        """A SPEC of it alone."""
        return "::".join(map(str, [self.folder] if self.folder else self.files))


def splits_in(root: Path) -> dict[Split, SplitPart]:
    """The splits of a directory; none where it is one data set.

    A class may be called as a split is: folders of images beside it are classes, then. The only
    folder with data may be what has the splits, as `images` of `images/train` and `images/val`.

    Raises:
        DataError: A split is there twice, as `val` and `valid`.
    """
    files, folders = shown(root)
    named: _Named = []
    for folder in folders:
        if (split := split_of(folder.name)) is not None:
            named.append((split, folder))
    if named and not any(is_data(path) for path in files) and _are_splits(named, folders):
        return _once(root, named)
    for inner in (root, root / "data"):
        if parts := _of_files(inner):
            return parts
    holding = [] if any(is_data(path) for path in files) else list(filter(has_data, folders))
    return splits_in(holding[0]) if len(holding) == 1 and not named else {}


def _are_splits(named: _Named, folders: list[Path]) -> bool:
    """True if folders called as splits are are such, and no classes."""
    own = {folder for _, folder in named}
    others = [folder for folder in folders if folder not in own]
    if not any(map(has_data, others)):
        return True
    flat = any(is_image_name(path.name) for folder in own for path in shown(folder)[0])
    splits = {split for split, _ in named}
    return not flat and all(map(has_data, own)) and ("test" in splits or len(splits) > 1)


def _once(root: Path, named: _Named) -> dict[Split, SplitPart]:
    parts: dict[Split, SplitPart] = {}
    for split, folder in named:
        if split in parts:
            raise DataError(
                f"{root}: got the folders {parts[split].shown} and {folder.name!r}, "
                f"expected one of the split {split!r}"
            )
        parts[split] = SplitPart(root=root, split=split, folder=folder)
    return parts


def _of_files(root: Path) -> dict[Split, SplitPart]:
    """Tars, Parquet files or other tables whose names tell several splits."""
    if not root.is_dir():
        return {}
    files = [path for path in shown(root)[0] if path.name not in METADATA_FILES]
    for endings in _KINDS:
        some = [path for path in files if path.suffix.lower() in endings]
        if found := by_split(some):
            return {
                split: SplitPart(root=root, split=split, files=tuple(of))
                for split, of in found.items()
            }
        if some or any(is_image_name(path.name) for path in files):
            return {}  # one data set
    return {}
