"""Directories of images: a folder per class, or images with their captions beside them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from twinlens.data.left_out import LINK, MISSING, NO_CAPTION, NO_IMAGE, OTHER, LeftOut
from twinlens.data.samples import Dataset, LazySamples, Sample, file_size, only
from twinlens.data.sources.captions import describe
from twinlens.data.sources.columns import Columns
from twinlens.data.sources.folder_captions import TextsBeside
from twinlens.data.sources.metadata_files import (
    CLASSNAMES_FILE,
    LISTS,
    METADATA_FILES,
    TEMPLATES_FILE,
    distinct_labels,
    is_document,
    read_classnames,
    read_templates,
    spoken_names,
)
from twinlens.data.sources.natural_order import natural_key
from twinlens.data.sources.table_datasets import rows_by_image
from twinlens.data.sources.tables import Row
from twinlens.errors import DataError, os_errors_as
from twinlens.images.file_names import is_hidden, is_image_name, unreadable_reason
from twinlens.types import Split

UNREADABLE_METADATA = "metadata file that is not read"


class Listing(NamedTuple):
    """A directory's files and folders that are not hidden, and what of it is left out so far."""

    root: Path
    files: list[Path]
    folders: list[Path]
    left_out: LeftOut


class _Entry(NamedTuple):
    """An image's file.

    Attributes:
        path: Where it is.
        key: Its path from the root.
        label: Its class, if folders are classes.
        beside: The files beside it that may hold captions, by their endings.
        rows: Its rows of the metadata file.
    """

    path: Path
    key: str
    label: str | None
    beside: Mapping[str, Path]
    rows: Sequence[Row]


@dataclass(slots=True)
class _Reading:
    """The images of a directory, while it is read."""

    root: Path
    rows: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    entries: list[_Entry] = field(default_factory=list[_Entry])
    left_out: LeftOut = field(default_factory=LeftOut)
    without_caption: LeftOut = field(default_factory=LeftOut)

    def add(self, files: Sequence[Path], label: str | None) -> None:
        """Take the images of files that lie in one folder or below it."""
        images = [path for path in files if is_image_name(path.name)]
        texts = TextsBeside(files, images)
        used: set[Path] = set()
        for path in images:
            beside = texts.of(path)
            used.update(beside.values())
            key = path.relative_to(self.root).as_posix()
            rows = self.rows.pop(key, [])
            self.entries.append(_Entry(path, key, label, beside, rows))
            if not beside and not any(row.texts for row in rows):
                self.without_caption.add(NO_CAPTION, str(path))
        for path in files:
            lists = LISTS if path.parent == self.root else METADATA_FILES
            name = path.name.lower()
            known = path in used or is_image_name(name) or name in lists or is_document(name)
            if not known:
                text = path.suffix.lower() in (".txt", ".caption")
                reason = unreadable_reason(path.name) or (NO_IMAGE if text else OTHER)
                self.left_out.add(reason, str(path))

    def dataset(self, **others: object) -> Dataset:
        """Return the images as a data set."""
        for key, rows in self.rows.items():  # no image took them
            self.left_out.add(MISSING, f"{rows[0].where}: {key}")
        if "classnames" not in others:  # then those of the metadata file, if it tells some
            labels = {label for entry in self.entries for label in _labels(entry)}
            others["classnames"] = tuple(sorted(labels, key=natural_key))
            others["multi_label"] = any(len(_labels(entry)) > 1 for entry in self.entries)
        return Dataset(
            name=self.root.resolve().name,
            samples=LazySamples(self.entries, _sample, _mark),
            left_out=self.left_out,
            without_caption=self.without_caption,
            **others,  # pyright: ignore[reportArgumentType]
        )


def shown(root: Path, left_out: LeftOut | None = None) -> tuple[list[Path], list[Path]]:
    """The files and the folders of a directory that are not hidden, by name.

    Args:
        root: The directory.
        left_out: Gets links that lead nowhere.

    Raises:
        DataError: It cannot be read.
    """
    with os_errors_as(DataError, root, "cannot be read"), os.scandir(root) as found:
        entries = sorted(found, key=lambda entry: natural_key(entry.name))
    entries = [entry for entry in entries if not is_hidden(entry.name)]
    files = [Path(entry.path) for entry in entries if entry.is_file()]
    folders = [
        Path(entry.path) for entry in entries if entry.is_dir() and not _leads_back(entry, root)
    ]
    if left_out is not None and len(files) + len(folders) < len(entries):
        for entry in entries:
            if not entry.is_file() and (not entry.is_dir() or _leads_back(entry, root)):
                left_out.add(LINK if entry.is_symlink() else OTHER, entry.path)
    return files, folders


def _leads_back(entry: os.DirEntry[str], folder: Path) -> bool:
    """True if it is a link to the folder that it lies in, or to one above that."""
    if not entry.is_symlink():
        return False
    target, here = os.path.realpath(entry.path), os.path.realpath(folder)
    return here == target or here.startswith(target.rstrip(os.sep) + os.sep)


def is_data(path: Path) -> bool:
    """True if a file is an image, a tar or Parquet, by its name."""
    return path.suffix.lower() in (".tar", ".parquet") or is_image_name(path.name)


def has_images(folder: Path) -> bool:
    """True if there is an image in a folder or below it."""
    return any(is_image_name(path.name) for path in _files_below(folder, LeftOut()))


def has_data(folder: Path) -> bool:
    """True if there is an image, a tar or Parquet in a folder or below it."""
    return any(map(is_data, _files_below(folder, LeftOut())))


def open_captioned(listing: Listing, wanted: Columns, split: Split | None = None) -> Dataset:
    """Images side by side, each with its captions if it has some."""
    root, files, folders, left_out = listing
    for folder in folders:
        if has_images(folder):
            raise DataError(
                f"{root}: got images beside the folder {folder.name!r} of images, "
                "expected either images or a folder per class"
            )
    reading = _Reading(root, _metadata(root, files, wanted, left_out), left_out=left_out)
    reading.add(files, None)
    return reading.dataset(split=split)


def open_class_folders(
    listing: Listing, lists: Path, wanted: Columns, split: Split | None = None
) -> Dataset:
    """A folder per class; `lists/classnames.txt`, if there, names them in the order of numbers.

    Of a table of metadata and a single folder, that is only where its images are.
    """
    root, files, folders, left_out = listing
    found = {folder: list(_files_below(folder, left_out)) for folder in folders}
    every = itertools.chain(files, *found.values())
    reading = _Reading(root, _metadata(root, every, wanted, left_out), left_out=left_out)
    single = len(folders) == 1 and bool(reading.rows)
    problem = _check_class_folders(listing, found)
    reading.add(files, None)  # none is an image: what they are is counted
    classes = _Classes.read(root, folders, lists, problem)
    for folder, label in zip(folders, classes.labels, strict=True):
        reading.add(found[folder], None if single else label)
    if single:
        return reading.dataset(split=split)
    return reading.dataset(
        classnames=classes.checked,
        spoken=spoken_names(classes.labels, classes.names),
        templates=partial(read_templates, lists / TEMPLATES_FILE),
        split=split,
    )


class _Classes(NamedTuple):
    """The classes of folders; what is wrong with them matters to those who ask."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    problem: DataError | None

    @classmethod
    def read(
        cls, root: Path, folders: Sequence[Path], lists: Path, problem: DataError | None
    ) -> _Classes:
        own = tuple(folder.name for folder in folders)
        try:
            names = read_classnames(lists / CLASSNAMES_FILE) or own
            if len(names) != len(folders):
                raise DataError(
                    f"{lists / CLASSNAMES_FILE}: got {len(names)} names, expected {len(folders)}, "
                    "one for each folder"
                )
            return cls(names, distinct_labels(names), problem)
        except DataError as error:
            return cls(own, own, problem or error)

    def checked(self) -> tuple[str, ...]:
        if self.problem is not None:
            raise self.problem
        return self.labels


def _metadata(
    root: Path, files: Iterable[Path], wanted: Columns, left_out: LeftOut
) -> dict[str, list[Row]]:
    """The rows of metadata files by the paths of their images; empty where there is none of images.

    A file's own paths are those from its folder.
    """
    found: dict[str, list[Row]] = {}
    for path in files:
        if path.name.lower() in METADATA_FILES:
            folder = path.parent.relative_to(root)
            try:
                for image, rows in rows_by_image(path, wanted).items():
                    found.setdefault((folder / image).as_posix(), []).extend(rows)
            except DataError as error:
                left_out.add(UNREADABLE_METADATA, str(error))
    return found


def _check_class_folders(listing: Listing, found: Mapping[Path, list[Path]]) -> DataError | None:
    """Return the error of folders that are no classes; raise it if there are no images at all."""
    without = [
        folder
        for folder, files in found.items()
        if not any(is_image_name(path.name) for path in files)
    ]
    if len(without) == len(found):
        told = _unreadable(itertools.chain(listing.files, *found.values()))
        tars = [folder for folder, files in found.items() if any(p.suffix == ".tar" for p in files)]
        hints = [f"there are tars in {folder}" for folder in tars[:1]] + told
        hint = f"; {'; '.join(hints)}" if hints else ""
        raise DataError(f"{listing.root}: got no images, expected a folder of them per class{hint}")
    if without:
        hint = "".join(f"; {line}" for line in _unreadable(found[without[0]]))
        return DataError(f"{without[0]}: got no images, expected some in each class folder{hint}")
    return None


def _unreadable(files: Iterable[Path]) -> list[str]:
    """Images of formats that cannot be read, a line for each."""
    told = LeftOut()
    for path in files:
        if (reason := unreadable_reason(path.name)) is not None:
            told.add(reason, str(path))
    return told.lines()


def _files_below(folder: Path, left_out: LeftOut, seen: set[str] | None = None) -> Iterator[Path]:
    """Files of a folder and its folders in order, without hidden ones; each folder once."""
    seen = {os.path.realpath(folder)} if seen is None else seen
    files, folders = shown(folder, left_out)
    yield from files
    for inner in folders:
        real = os.path.realpath(inner)
        if real in seen:  # links are followed, but may lead back
            left_out.add(LINK, str(inner))
            continue
        seen.add(real)
        yield from _files_below(inner, left_out, seen)


def _labels(entry: _Entry) -> tuple[str, ...]:
    """Its class, or those that its rows name."""
    if entry.label is not None:
        return (entry.label,)
    return tuple(dict.fromkeys(str(label) for row in entry.rows for label in row.labels))


def _sample(entry: _Entry) -> Sample:
    rows = entry.rows
    from_rows = tuple(dict.fromkeys(text for row in rows for text in row.texts))
    found = describe(partial(_read_beside, entry.beside), lambda: from_rows)
    others = {name: value for row in rows for name, value in row.others.items()}
    return Sample(
        key=entry.key,
        source=entry.path,
        captions=found.captions,
        label=only(_labels(entry)),
        labels=_labels(entry),
        concept=found.concept or next((row.concept for row in rows if row.concept), None),
        metadata=others | found.metadata,
        passed_over=(*found.passed_over, *(odd for row in rows for odd in row.passed_over)),
    )


def _read_beside(beside: Mapping[str, Path], ending: str) -> bytes | None:
    path = beside.get(ending)
    with os_errors_as(DataError, path, "cannot be read"):
        return path.read_bytes() if path else None


def _mark(entry: _Entry) -> object:
    """Name and size of the image and of its captions."""
    if not entry.rows and not entry.beside.keys() - {"txt"}:
        captions: object = file_size(entry.beside["txt"]) if "txt" in entry.beside else 0
    else:
        captions = (
            {ending: file_size(path) for ending, path in entry.beside.items()},
            [row.texts for row in entry.rows],
        )
    return entry.key, file_size(entry.path), captions
