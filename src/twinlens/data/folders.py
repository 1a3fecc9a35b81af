"""Directories of pictures: a folder per class, or pictures with same-named `.txt` files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from twinlens.data.images import SUFFIXES
from twinlens.data.lists import (
    CLASSNAMES_FILE,
    LISTS,
    TEMPLATES_FILE,
    distinct_labels,
    read_classnames,
    read_lines,
    read_templates,
    spoken_names,
)
from twinlens.data.samples import Dataset, LazySamples, Sample, file_size
from twinlens.errors import DataError


class _Entry(NamedTuple):
    path: Path
    key: str
    label: str | None
    captioned: bool


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by the ending of its name."""
    return path.suffix.lower() in SUFFIXES


def shown(root: Path) -> tuple[list[Path], list[Path]]:
    """The files and the folders of a directory that are not hidden, by name.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with os.scandir(root) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{root}: cannot be read: {error.strerror or error}") from error
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    files = [Path(entry.path) for entry in entries if entry.is_file()]
    return files, [Path(entry.path) for entry in entries if entry.is_dir()]


def open_captioned(root: Path, files: list[Path], folders: list[Path]) -> Dataset:
    """Pictures side by side, each with the captions of its same-named `.txt` if it has one."""
    for folder in folders:
        if any(is_picture(path) for path in _files_below(folder)):
            raise DataError(
                f"{root}: got pictures beside the folder {folder.name!r} of pictures, "
                "expected either pictures or a folder per class"
            )
    pictures = [path for path in files if is_picture(path)]
    texts = {path.with_suffix("") for path in files if path.suffix == ".txt"}
    used = texts & {path.with_suffix("") for path in pictures}
    entries = [_Entry(path, path.name, None, path.with_suffix("") in texts) for path in pictures]
    ignored = len(files) - len(pictures) - len(used)
    samples = LazySamples(entries, _sample, _mark)
    return Dataset(name=root.resolve().name, samples=samples, ignored=ignored)


def open_class_folders(root: Path, files: list[Path], folders: list[Path], lists: Path) -> Dataset:
    """A folder per class; `lists/classnames.txt`, if there, names them in sorted order."""
    ignored = sum(path.name not in LISTS for path in files)
    found = {folder: list(_files_below(folder)) for folder in folders}
    _check_class_folders(root, found)
    names = read_classnames(lists / CLASSNAMES_FILE) or tuple(folder.name for folder in folders)
    if len(names) != len(folders):
        raise DataError(
            f"{lists / CLASSNAMES_FILE}: got {len(names)} names, expected {len(folders)}, "
            "one for each folder"
        )
    labels = distinct_labels(names)
    entries: list[_Entry] = []
    for folder, label in zip(folders, labels, strict=True):
        pictures = [path for path in found[folder] if is_picture(path)]
        texts = {path.with_suffix("") for path in found[folder] if path.suffix == ".txt"}
        used = texts & {path.with_suffix("") for path in pictures}
        ignored += len(found[folder]) - len(pictures) - len(used)
        for path in pictures:
            key = path.relative_to(root).as_posix()
            entries.append(_Entry(path, key, label, path.with_suffix("") in texts))
    return Dataset(
        name=root.resolve().name,
        samples=LazySamples(entries, _sample, _mark),
        classnames=labels,
        spoken=spoken_names(labels, names),
        templates=read_templates(lists / TEMPLATES_FILE),
        ignored=ignored,
    )


def _check_class_folders(root: Path, found: Mapping[Path, list[Path]]) -> None:
    without = [folder for folder, files in found.items() if not any(map(is_picture, files))]
    if len(without) == len(found):
        tars = [folder for folder, files in found.items() if any(p.suffix == ".tar" for p in files)]
        hint = f"; there are tars in {tars[0]}" if tars else ""
        raise DataError(f"{root}: got no pictures, expected a folder of them per class{hint}")
    if without:
        raise DataError(f"{without[0]}: got no pictures, expected some in each class folder")


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and its folders, sorted, without hidden ones; each folder once."""
    seen = {os.path.realpath(folder)}  # links are followed, but may lead back
    for where, inner, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = {name: os.path.realpath(os.path.join(where, name)) for name in inner}  # noqa: PTH118
        inner[:] = sorted(name for name in inner if name[0] != "." and real[name] not in seen)
        seen |= {real[name] for name in inner}
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _sample(entry: _Entry) -> Sample:
    captions = read_lines(entry.path.with_suffix(".txt")) if entry.captioned else ()
    return Sample(key=entry.key, source=entry.path, captions=captions, label=entry.label)


def _mark(entry: _Entry) -> object:
    """Name and size of the picture and of its captions."""
    captions = file_size(entry.path.with_suffix(".txt")) if entry.captioned else 0
    return entry.key, file_size(entry.path), captions
