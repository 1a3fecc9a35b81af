"""The images of folders and data sets, listed without holding the list in memory."""

from __future__ import annotations

import glob
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twinlens.data.left_out import LINK, LeftOut
from twinlens.errors import DataError, os_errors_as
from twinlens.images.decode import read_image_file
from twinlens.images.file_names import (
    READABLE_SUFFIXES,
    is_hidden,
    is_image_name,
    unreadable_reason,
)
from twinlens.search.store import DATABASE
from twinlens.search.writer import IndexedFile

if TYPE_CHECKING:
    from twinlens.data.samples import Sample
    from twinlens.types import ImageInput

_MAX_CAPTION_BYTES = 65_536
"""Of a text file beside an image: a longer one is no caption."""


@dataclass(slots=True)
class SourceFiles:
    """The images of one source, as they are found.

    Attributes:
        spec: The source's name in the index: a folder's or a file's absolute path, or a SPEC.
        left_out: Files that are no candidates, by reason; filled while `files` is iterated.
        unlisted: Folders that could not be read, with a slash at the end.
        samples: The samples of a data set; none of a folder.
    """

    spec: str
    left_out: LeftOut = field(default_factory=LeftOut)
    unlisted: list[str] = field(default_factory=list[str])
    samples: Sequence[Sample] | None = None

    def files(self) -> Iterator[IndexedFile]:
        """Each image's file as it is now."""
        if self.samples is not None:
            for item, sample in enumerate(self.samples):
                yield _sample_file(self.spec, item, sample)
        elif Path(self.spec).is_dir():
            yield from self._walk()
        else:
            for path in self._named():
                yield replace(_file_state(path), source=self.spec)

    def image(self, file: IndexedFile) -> ImageInput:
        """An image that was listed: its path, or its encoded bytes.

        Raises:
            DataError: It cannot be read.
        """
        if self.samples is None:
            return Path(file.path)
        source = self.samples[file.item].source
        return source if isinstance(source, Path) else source.read_image()

    def _named(self) -> list[str]:
        if Path(self.spec).exists():
            return [self.spec]
        found = sorted(glob.glob(self.spec, recursive=True))  # noqa: PTH207  Path: no absolute
        return [path for path in found if is_image_name(path) and Path(path).is_file()]

    def _walk(self) -> Iterator[IndexedFile]:
        """Walk a folder and those below it, through links, each folder once."""
        root = self.spec.rstrip("/")
        waiting, seen = [root], set[tuple[int, int]]()
        while waiting:
            folder = waiting.pop()
            try:
                status = os.stat(folder or "/")  # noqa: PTH116  millions of names
                if (status.st_dev, status.st_ino) in seen:
                    self.left_out.add(LINK, folder)
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(folder or "/") as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.unlisted.append(f"{folder}/")
                self.left_out.add(f"folder that cannot be read: {error.strerror}", folder)
                continue
            names = {entry.name for entry in found}
            if DATABASE in names and any(name.startswith("vectors-") for name in names):
                continue  # an index, perhaps of this very folder
            for entry in found:
                if is_hidden(entry.name):
                    self.left_out.add("hidden file or folder", entry.path)
                    continue
                if _is_folder(entry):
                    waiting.append(entry.path)
                elif (file := self._entry_file(entry, names)) is not None:
                    yield file

    def _entry_file(self, entry: os.DirEntry[str], names: set[str]) -> IndexedFile | None:
        if not is_image_name(entry.name):
            if not (entry.name.endswith(".txt") and _has_image(entry.name, names)):
                reason = unreadable_reason(entry.name) or "file that is no image"
                self.left_out.add(reason, entry.path)
            return None
        try:
            status = entry.stat()
            if not entry.is_file():
                self.left_out.add("entry that is no file", entry.path)
                return None
        except OSError as error:
            self.left_out.add(f"file that cannot be read: {error.strerror}", entry.path)
            return None
        text = f"{os.path.splitext(entry.name)[0]}.txt"  # noqa: PTH122
        return IndexedFile(
            path=entry.path,
            size=status.st_size,
            modified=status.st_mtime_ns,
            source=self.spec,
            text=_read_caption(os.path.join(os.path.dirname(entry.path), text))  # noqa: PTH118, PTH120
            if text in names
            else None,
        )


def open_source(name: str) -> SourceFiles:
    """A folder of images, an image, a glob, or a data set that `open_dataset` opens.

    Raises:
        DataError: There is no such thing.
        MissingExtraError: It is Parquet or remote, and pyarrow or fsspec is not installed.
    """
    path = Path(name).expanduser()
    if name and path.is_dir() and not _is_packed(path):
        return SourceFiles(os.path.abspath(path))  # noqa: PTH100  not through links: as it was named
    if path.is_file() and is_image_name(path.name):
        return SourceFiles(os.path.abspath(path))  # noqa: PTH100
    is_glob = glob.has_magic(name) and "{" not in name and "://" not in name
    if name and is_glob and not path.exists():
        return SourceFiles(os.path.abspath(path))  # noqa: PTH100
    from twinlens.data.datasets import open_dataset  # noqa: PLC0415  folders do not need it

    # Absolute, so that images have the same names from another working directory.
    is_local = (bool(name) and path.exists()) or (
        "{" in name and "://" not in name and "::" not in name
    )
    spec = os.path.abspath(path) if is_local else name  # noqa: PTH100
    dataset = open_dataset(spec)
    return SourceFiles(spec, left_out=dataset.left_out, samples=dataset.samples)


def read_sample(spec: str, item: int, path: str) -> ImageInput:
    """An image of a data set that was indexed, by its place there.

    Raises:
        DataError: The data set has changed, or is gone.
    """
    listing = open_source(spec)
    if listing.samples is None or item >= len(listing.samples):
        raise DataError(f"{path}: is no longer in {spec}, expected it where it was indexed")
    file = _sample_file(spec, item, listing.samples[item])
    if file.path != path:
        raise DataError(f"{path}: is no longer in {spec}, expected it where it was indexed")
    return listing.image(file)


def require_images(listing: SourceFiles, count: int, known: int) -> None:
    """Refuse a source without images: a disk that is not mounted would empty the index.

    Args:
        listing: The source, after it was listed.
        count: The number of its images.
        known: The number that the index has of it.

    Raises:
        DataError: There are none.
    """
    if count:
        return
    lines = f" ({'; '.join(listing.left_out.lines())})" if listing.left_out.total else ""
    if known:
        raise DataError(
            f"{listing.spec}: got no images{lines}, expected some of the {known:,} in the index: "
            "is its disk mounted? To remove them: --remove"
        )
    raise DataError(
        f"{listing.spec}: got no images{lines}, expected files that end in "
        f"{', '.join(sorted(READABLE_SUFFIXES))}"
    )


def sample_images(listing: SourceFiles, count: int) -> list[ImageInput]:
    """Some of a source's images, spread over it, to see of which kind they are.

    Raises:
        DataError: It has none.
    """
    chosen: list[IndexedFile] = []
    draw = random.Random(0)
    number = -1
    for number, one in enumerate(listing.files()):  # reservoir sampling: the number is not known
        if number < count:
            chosen.append(one)
        elif (place := draw.randint(0, number)) < count:
            chosen[place] = one
    require_images(listing, number + 1, 0)
    images: list[ImageInput] = []
    for file in chosen:
        with suppress(DataError):  # it is reported when it is indexed
            images.append(listing.image(file))
    return images


def _is_packed(path: Path) -> bool:
    """True of a folder of tars or Parquet files, which `open_dataset` reads."""
    with os_errors_as(DataError, path, "cannot be read"), os.scandir(path) as entries:
        found = [(entry.name.lower(), _is_folder(entry)) for entry in entries]
    names = [name for name, _ in found if not is_hidden(name)]
    has_images = any(is_image_name(name) for name in names)
    has_folders = any(is_folder and not is_hidden(name) for name, is_folder in found)
    return (
        not has_images
        and not has_folders
        and any(name.endswith((".tar", ".parquet")) for name in names)
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _has_image(text: str, names: set[str]) -> bool:
    """True for a caption, which has an image's name but for the ending."""
    stem = text.removesuffix(".txt")
    return any(stem + ending in names for ending in READABLE_SUFFIXES)


def _sample_file(spec: str, item: int, sample: Sample) -> IndexedFile:
    metadata = dict(sample.metadata)
    if sample.label is not None:
        metadata.setdefault("label", sample.label)
    if isinstance(sample.source, Path):
        file = _file_state(os.path.abspath(sample.source))  # noqa: PTH100
    else:
        file = IndexedFile(path=sample.where, size=-1, modified=-1)
    text = "\n".join(sample.captions) or None
    return replace(file, source=spec, item=item, text=text, metadata=metadata)


def _file_state(path: str) -> IndexedFile:
    """A file by its name; one that is gone has no size, and reading it says so."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return IndexedFile(path=path, size=-1, modified=-1)
    return IndexedFile(path=path, size=status.st_size, modified=status.st_mtime_ns)


def _read_caption(path: str) -> str | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            data = file.read(_MAX_CAPTION_BYTES + 1)
    except OSError:
        return None
    return (
        data.decode("utf-8", "replace").strip() or None if len(data) <= _MAX_CAPTION_BYTES else None
    )


def read_encoded(image: ImageInput) -> bytes:
    """The encoded bytes of an image that was listed.

    Raises:
        DataError: The file is gone, or larger than any image should be.
    """
    return image if isinstance(image, bytes) else read_image_file(Path(str(image)))
