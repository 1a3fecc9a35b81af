"""Data sets: what a SPEC names, as samples of an image with its captions and its label.

Opening lists; no image is decoded. Captions in tars and beside images are read when a sample is
asked for, so that opening a large data set stays quick.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from twinlens.data.left_out import OTHER, LeftOut, joined
from twinlens.data.samples import Dataset, JoinedSamples, Sample, Source, union
from twinlens.data.sources import tables
from twinlens.data.sources.builtin import NAMES, open_named
from twinlens.data.sources.columns import Columns
from twinlens.data.sources.folders import (
    UNREADABLE_METADATA,
    Listing,
    has_images,
    is_data,
    open_captioned,
    open_class_folders,
    shown,
)
from twinlens.data.sources.metadata_files import (
    COUNT_FILE,
    LISTS,
    METADATA_FILES,
    check_count,
    is_document,
)
from twinlens.data.sources.remote import is_url, name_of
from twinlens.data.sources.split_directories import SplitPart, splits_in
from twinlens.data.sources.table_datasets import open_tables
from twinlens.data.webdataset.tars import TarGroup, open_tars
from twinlens.errors import DataError, os_errors_as
from twinlens.images.file_names import is_image_name
from twinlens.types import ProgressCallback, Split

__all__ = ["Dataset", "Sample", "open_dataset", "tars_in"]

_EXPECTED = (
    "a directory, a CSV, TSV, JSON-lines or Parquet file, tars such as x/{00000..00003}.tar, "
    f"their URLs, hf://datasets/org/name, or {' or '.join(NAMES)}"
)


class _OpenOptions(NamedTuple):
    """The reading of a SPEC: names of columns, and which split of a root with splits."""

    columns: Columns
    splits: tuple[Split, ...]


def open_dataset(
    spec: str | Path,
    *,
    progress: ProgressCallback | None = None,
    columns: Columns | None = None,
    splits: Sequence[Split] = (),
) -> Dataset:
    """Open what a SPEC names; several SPECs are joined with `::`.

    - a directory with a folder of images per class, or of images with captions beside them (see
      `captions`), or of tars, or of Parquet files;
    - a CSV, TSV, JSON-lines or Parquet file with a column of images, and of captions or classes or
      both (see `columns`); paths are relative to the file, and rows of one image are one sample;
    - WebDataset tars: `x/00000.tar`, `x/{00000..00003}.tar`, in img2dataset's or CLIP_benchmark's
      layout;
    - the same tars behind URLs that fsspec knows, as `s3://bucket/x/{00000..00003}.tar`;
    - `hf://datasets/org/name[@revision][/split, folder or file]` of Parquet files or tars;
    - `digits`, `digits/train`, `digits/test`, `fashion-mnist/train`, `fashion-mnist/test`, unless
      there is a path of that name: see `named`.

    With weights, as in `0.7*web::0.3*icons`, training draws from the parts in that proportion.

    Args:
        spec: The SPEC.
        progress: Told (done, in all) while tars are indexed, which is done once.
        columns: Names of a table's columns, where they are others than the known ones.
        splits: Of a directory with a folder, or files, for each split: which to take, the first
            that there is. By default such a directory is refused.

    Raises:
        DataError: There is no such data set, it has no images, or something in it is wrong.
        MissingExtraError: It is Parquet or remote, and pyarrow or fsspec is not installed.
    """
    options = _OpenOptions(columns or Columns(), tuple(splits))
    parts = [(weight, _opened(_find(part, options), progress)) for weight, part in _parts(spec)]
    return _join(parts, str(spec))


def tars_in(spec: str | Path) -> list[TarGroup]:
    """The tars that each part of a SPEC names.

    Raises:
        DataError: A part of it names no tars.
        MissingExtraError: It is on the Hugging Face hub, and what fetches from there is missing.
    """
    found = [(part, _find(part, _OpenOptions(Columns(), ()))) for _, part in _parts(spec)]
    for part, one in found:
        if not isinstance(one, TarGroup):
            raise DataError(f"{part}: got a data set without tars, expected tars")
    return [one for _, one in found if isinstance(one, TarGroup)]


def _parts(spec: str | Path) -> list[tuple[float | None, str]]:
    return [_weighted(part.strip()) for part in str(spec).split("::")]


def _weighted(part: str) -> tuple[float | None, str]:
    """The weight of `0.7*web/{0..9}.tar` and what it is of; a path that is there has none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\*(.+)", part)
    if match is None or Path(part).expanduser().exists():
        return None, part
    return float(match[1]), match[2].strip()


def _join(parts: Sequence[tuple[float | None, Dataset]], spec: str) -> Dataset:
    datasets = [part for _, part in parts]
    if len(datasets) == 1:
        return datasets[0]
    weights = [weight for weight, _ in parts if weight is not None]
    if weights and (len(weights) < len(parts) or not all(weights)):
        raise DataError(f"{spec}: got parts of no weight beside others, expected one for each")
    sizes = [part.shard_sizes or (len(part.samples),) for part in datasets]
    return Dataset(
        name="+".join(part.name for part in datasets),
        samples=JoinedSamples([part.samples for part in datasets], weights),
        classnames=lambda: union(part.classnames for part in datasets),
        spoken={label: name for part in datasets for label, name in part.spoken.items()},
        multi_label=lambda: any(part.multi_label for part in datasets),
        templates=lambda: union(part.templates for part in datasets),
        left_out=joined(part.left_out for part in datasets),
        without_caption=joined(part.without_caption for part in datasets),
        shard_sizes=list(itertools.chain.from_iterable(sizes)),
        sources=tuple(
            Source(weight=weight, shard_sizes=own)
            for weight, own in zip(weights, sizes, strict=False)
        ),
    )


def open_split(
    part: SplitPart, *, progress: ProgressCallback | None = None, columns: Columns | None = None
) -> Dataset:
    """Open a split of a directory, whose class names and prompts lie above its folder.

    Raises:
        DataError: It has no images, or something in it is wrong.
        MissingExtraError: It is Parquet and pyarrow is not installed.
    """
    with os_errors_as(DataError, part.root / part.split, "cannot be read"):
        return _opened(_find_split(part, columns or Columns()), progress)


def _find_split(part: SplitPart, columns: Columns) -> TarGroup | Dataset:
    found = _split_alone(part, columns)
    for path in shown(part.root)[0]:
        if path.name.lower() in METADATA_FILES:  # it is of several splits
            found.left_out.add(UNREADABLE_METADATA, str(path))
    return found


def _split_alone(part: SplitPart, columns: Columns) -> TarGroup | Dataset:
    if part.folder is not None:
        return _find_in_directory(part.folder, part.root, columns, part.split)
    name = f"{part.root.resolve().name}/{part.split}"
    if part.files[0].suffix.lower() == ".tar":
        return TarGroup(part.files, name, split=part.split)
    return open_tables(part.files, name, columns, lists=part.root, split=part.split)


def _opened(found: TarGroup | Dataset, progress: ProgressCallback | None) -> Dataset:
    return open_tars(found, progress) if isinstance(found, TarGroup) else found


def _find(spec: str, options: _OpenOptions) -> TarGroup | Dataset:
    """Tars by their places; anything else is opened."""
    with os_errors_as(DataError, spec, "cannot be read"):
        if spec.startswith("hf://datasets/"):
            from twinlens.data.sources.hub_datasets import fetch  # noqa: PLC0415  only here

            fetched = fetch(spec)
            return _find_files(fetched.files, spec, options.columns, fetched.name)
        if is_url(spec):
            return _find_urls(spec)
        path = Path(spec).expanduser()
        if spec and path.is_dir():
            return _find_in_root(path, options)
        if not path.exists() and (named := open_named(spec)) is not None:
            return named
        if "{" in spec and not path.exists():
            return TarGroup([Path(one) for one in _expand(str(path))], path.parent.name)
        return _find_files([path], spec, options.columns)


def _find_in_root(root: Path, options: _OpenOptions) -> TarGroup | Dataset:
    """One split of a directory that has them; else all of it."""
    parts = splits_in(root)
    if not parts:
        return _find_in_directory(_data_folder(root), root, options.columns)
    chosen = next((parts[split] for split in options.splits if split in parts), None)
    if chosen is None:
        names = ", ".join(part.shown for part in parts.values())
        expected = f"one of {', '.join(options.splits)}" if options.splits else "one data set"
        one = next(iter(parts.values()))
        raise DataError(f"{root}: got the splits {names}, expected {expected}; or give {one.spec}")
    return _find_split(chosen, options.columns)


def _data_folder(root: Path) -> Path:
    """`data` of a directory that has nothing else to read, as Hugging Face's data sets are."""
    files, folders = shown(root)
    inner = root / "data"
    if inner not in folders or any(is_data(path) for path in files):
        return root
    others = [folder for folder in folders if folder != inner]
    held = any(is_data(path) and not is_image_name(path.name) for path in shown(inner)[0])
    return inner if held and not any(map(has_images, others)) else root


def _find_urls(spec: str) -> TarGroup:
    urls = list(_expand(spec)) if "{" in spec else [spec]
    if not all(name_of(url).lower().endswith(".tar") for url in urls):
        raise DataError(f"{spec}: got a URL of something else than tars, expected {_EXPECTED}")
    folder = PurePosixPath(urlsplit(urls[0]).path).parent.name
    return TarGroup(
        urls, folder if len(urls) > 1 and folder else PurePosixPath(name_of(urls[0])).stem
    )


def _find_files(
    paths: Sequence[Path], spec: str, columns: Columns, name: str = ""
) -> TarGroup | Dataset:
    """Files that are all tables, or all tars."""
    first = paths[0]
    if not spec or not first.exists():
        raise DataError(f"{spec or 'data set'}: no such file or directory, expected {_EXPECTED}")
    if first.suffix.lower() in tables.SUFFIXES:
        return open_tables(paths, name or first.stem, columns)
    if first.suffix.lower() == ".tar":
        return TarGroup(paths, name or first.stem)
    raise DataError(f"{spec}: got a file of another kind, expected {_EXPECTED}")


MOST_TARS = 10_000_000
"""Of a range: their names alone take a gigabyte."""


def _expand(pattern: str) -> Iterator[str]:
    """The paths or URLs that `x/{00000..00003}.tar` stands for, zeros kept."""
    pieces = re.split(r"\{(\d{1,99})\.\.(\d{1,99})\}", pattern)
    texts, firsts, lasts = pieces[::3], pieces[1::3], pieces[2::3]
    ranges = [range(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]
    if math.prod(max(0, one.stop - one.start) for one in ranges) > MOST_TARS:
        raise DataError(f"{pattern}: got a range of more, expected at most {MOST_TARS:,} tars")
    if not ranges or not all(ranges) or any("{" in text for text in texts):
        raise DataError(f"{pattern}: not a range of tars, expected one like x/{{00000..00003}}.tar")
    widths = [len(first) for first in firsts]
    for numbers in itertools.product(*ranges):
        written = [str(n).zfill(width) for n, width in zip(numbers, widths, strict=True)]
        yield "".join(itertools.chain(*zip(texts, written, strict=False), texts[-1:]))


def _find_in_directory(
    root: Path, lists: Path, columns: Columns, split: Split | None = None
) -> TarGroup | Dataset:
    """Find the data of a directory; `lists` has the class names and prompts of class folders."""
    left_out = LeftOut()
    files, folders = shown(root, left_out)
    name = root.resolve().name
    if tars := [path for path in files if path.suffix.lower() == ".tar"]:
        check_count(root / COUNT_FILE, len(tars))
        _count_strange(files, tars, left_out)
        return TarGroup(tars, name, left_out, split)
    parquet = [path for path in files if path.suffix.lower() == ".parquet"]
    # `metadata.parquet` is of the images beside it.
    if found := [path for path in parquet if path.name not in METADATA_FILES]:
        _count_strange(files, found, left_out)
        return open_tables(found, name, columns, left_out=left_out, lists=lists, split=split)
    listing = Listing(root, files, folders, left_out)
    if any(is_image_name(path.name) for path in files):
        return open_captioned(listing, columns, split)
    return open_class_folders(listing, lists, columns, split)


def _count_strange(files: Sequence[Path], data: Sequence[Path], left_out: LeftOut) -> None:
    """Count the files that do not belong to a data set of tars or tables."""
    names = {*LISTS, *(path.name for path in data)}
    for tar in data:
        beside = (f"{tar.name}.index", f"{tar.stem}.parquet", f"{tar.stem}_stats.json")
        names.update(beside)  # the last is img2dataset's own count
    for path in files:
        if path.name not in names and not is_document(path.name):
            left_out.add(OTHER, str(path))
