"""Data sets: what a SPEC names, as samples of a picture with its captions and its label.

Opening lists; no picture is decoded. Captions in tars and beside pictures are read when a sample
is asked for, so that opening a large data set stays quick.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from twinlens.data import tables
from twinlens.data.folders import is_picture, open_captioned, open_class_folders, shown
from twinlens.data.index_files import Progress
from twinlens.data.lists import (
    COUNT_FILE,
    LISTS,
    TEMPLATES_FILE,
    check_count,
    read_templates,
)
from twinlens.data.named import NAMES, open_named
from twinlens.data.remote import Place, is_url, name_of
from twinlens.data.samples import Dataset, JoinedSamples, Sample, Source, only, union
from twinlens.data.tables import TableImage
from twinlens.data.tars import Tars, open_tars
from twinlens.errors import DataError

__all__ = ["Dataset", "Sample", "open_dataset", "tars_of"]

_EXPECTED = (
    "a directory, a CSV, TSV or Parquet file, tars such as x/{00000..00003}.tar, "
    f"their URLs, hf://datasets/org/name, or {' or '.join(NAMES)}"
)


def open_dataset(spec: str | Path, *, progress: Progress | None = None) -> Dataset:
    """Open what a SPEC names; several SPECs are joined with `::`.

    - a directory with a folder of pictures per class, or of pictures with same-named `.txt` (a
      caption a line), or of tars, or of Parquet files;
    - a CSV, TSV or Parquet file with a column `image` and `text` or `label` or both; paths are
      relative to the file, and rows of one picture are one sample;
    - WebDataset tars: `x/00000.tar`, `x/{00000..00003}.tar`, in img2dataset's or CLIP_benchmark's
      layout;
    - the same tars behind URLs that fsspec knows, as `s3://bucket/x/{00000..00003}.tar`;
    - `hf://datasets/org/name[@revision][/split, folder or file]` of Parquet files or tars;
    - `digits`, `digits/train`, `digits/test`, `fashion-mnist/train`, `fashion-mnist/test`, unless
      there is a path of that name: see `named`.

    With weights, as in `0.7*web::0.3*icons`, training draws from the parts in that proportion.

    `progress` is told (done, in all) while tars are indexed, which is done once.

    Raises:
        DataError: There is no such data set, it has no pictures, or something in it is wrong.
        MissingExtraError: It is Parquet or remote, and pyarrow or fsspec is not installed.
    """
    parts = [(weight, _open_part(part, progress)) for weight, part in _parts(spec)]
    return _join(parts, str(spec))


def tars_of(spec: str | Path) -> list[Place]:
    """The tars that a SPEC names.

    Raises:
        DataError: A part of it names no tars.
        MissingExtraError: It is on the Hugging Face hub, and what fetches from there is missing.
    """
    places: list[Place] = []
    for _, part in _parts(spec):
        found = _find(part)
        if not isinstance(found, Tars):
            raise DataError(f"{part}: got a data set without tars, expected tars")
        places += found.places
    return places


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
        classnames=partial(_all_classnames, datasets),
        spoken={label: name for part in datasets for label, name in part.spoken.items()},
        multi_label=partial(_any_multi_label, datasets),
        templates=union(part.templates for part in datasets),
        ignored=sum(part.ignored for part in datasets),
        shard_sizes=list(itertools.chain.from_iterable(sizes)),
        sources=tuple(
            Source(weight=weight, shard_sizes=own)
            for weight, own in zip(weights, sizes, strict=False)
        ),
    )


def _all_classnames(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    return union(part.classnames for part in datasets)


def _any_multi_label(datasets: Sequence[Dataset]) -> bool:
    return any(part.multi_label for part in datasets)


def open_split(folder: Path, *, progress: Progress | None = None) -> Dataset:
    """Open a folder whose class names and prompts lie a folder above.

    Raises:
        DataError: It has no pictures, or something in it is wrong.
        MissingExtraError: It is Parquet and pyarrow is not installed.
    """
    try:
        return _opened(_find_in_directory(folder, folder.parent), progress)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _open_part(spec: str, progress: Progress | None) -> Dataset:
    return _opened(_find(spec), progress)


def _opened(found: Tars | Dataset, progress: Progress | None) -> Dataset:
    return open_tars(found, progress) if isinstance(found, Tars) else found


def _find(spec: str) -> Tars | Dataset:
    """Tars by their places; anything else is opened."""
    try:
        if spec.startswith("hf://datasets/"):
            from twinlens.data.hub_datasets import fetch  # noqa: PLC0415  only here

            fetched = fetch(spec)
            return _find_files(fetched.files, spec, fetched.name)
        if is_url(spec):
            return _find_urls(spec)
        path = Path(spec).expanduser()
        if spec and path.is_dir():
            return _find_in_directory(path, path)
        if not path.exists() and (named := open_named(spec)) is not None:
            return named
        if "{" in spec and not path.exists():
            return Tars([Path(one) for one in _expand(str(path))], path.parent.name)
        return _find_files([path], spec)
    except OSError as error:
        raise DataError(f"{spec}: cannot be read: {error.strerror or error}") from error


def _find_urls(spec: str) -> Tars:
    urls = list(_expand(spec)) if "{" in spec else [spec]
    if not all(name_of(url).lower().endswith(".tar") for url in urls):
        raise DataError(f"{spec}: got a URL of something else than tars, expected {_EXPECTED}")
    folder = PurePosixPath(urlsplit(urls[0]).path).parent.name
    return Tars(urls, folder if len(urls) > 1 and folder else PurePosixPath(name_of(urls[0])).stem)


def _find_files(paths: Sequence[Path], spec: str, name: str = "") -> Tars | Dataset:
    """Files that are all tables, or all tars."""
    first = paths[0]
    if not spec or not first.exists():
        raise DataError(f"{spec or 'data set'}: no such file or directory, expected {_EXPECTED}")
    if first.suffix.lower() in tables.SUFFIXES:
        return _open_tables(paths, name or first.stem)
    if first.suffix.lower() == ".tar":
        return Tars(paths, name or first.stem)
    raise DataError(f"{spec}: got a file of another kind, expected {_EXPECTED}")


MOST_TARS = 10_000_000
"""Of a range: their names alone take a gigabyte."""


def _length(numbers: range) -> int:
    """As `len`, of ranges of any length."""
    return max(0, numbers.stop - numbers.start)


def _expand(pattern: str) -> Iterator[str]:
    """The paths or URLs that `x/{00000..00003}.tar` stands for, zeros kept."""
    pieces = re.split(r"\{(\d{1,99})\.\.(\d{1,99})\}", pattern)
    texts, firsts, lasts = pieces[::3], pieces[1::3], pieces[2::3]
    counts = [range(int(one), int(last) + 1) for one, last in zip(firsts, lasts, strict=True)]
    if math.prod(map(_length, counts)) > MOST_TARS:
        raise DataError(f"{pattern}: got a range of more, expected at most {MOST_TARS:,} tars")
    ranges = [
        [str(number).zfill(len(first)) for number in numbers]
        for first, numbers in zip(firsts, counts, strict=True)
    ]
    if not ranges or not all(ranges) or any("{" in text for text in texts):
        raise DataError(f"{pattern}: not a range of tars, expected one like x/{{00000..00003}}.tar")
    for numbers in itertools.product(*ranges):
        yield "".join(itertools.chain(*zip(texts, numbers, strict=False), texts[-1:]))


def _find_in_directory(root: Path, lists: Path) -> Tars | Dataset:
    """What is in a directory; names and prompts of a folder per class are those in `lists`."""
    files, folders = shown(root)
    if tars := [path for path in files if path.suffix.lower() == ".tar"]:
        check_count(root / COUNT_FILE, len(tars))
        return Tars(sorted(tars, key=_by_number), root.resolve().name, _strange(files, tars))
    if found := [path for path in files if path.suffix.lower() == ".parquet"]:
        return _open_tables(found, root.resolve().name, _strange(files, found), lists)
    if any(is_picture(path) for path in files):
        return open_captioned(root, files, folders)
    return open_class_folders(root, files, folders, lists)


def _by_number(tar: Path) -> tuple[float, str]:
    """0.tar, 1.tar, ..., 10.tar; others after these by name."""
    return int(tar.stem) if tar.stem.isdecimal() else math.inf, tar.name


def _strange(files: Sequence[Path], data: Sequence[Path]) -> int:
    """How many files do not belong to a data set of tars or tables."""
    names = {*LISTS, *(path.name for path in data)}
    for tar in data:
        names |= {f"{tar.name}.index", tar.with_suffix(".parquet").name}
    return sum(path.name not in names for path in files)


def _open_tables(
    paths: Sequence[Path], name: str, ignored: int = 0, lists: Path | None = None
) -> Dataset:
    opened = [tables.read_table(path) for path in paths]
    samples: dict[str, Sample] = {}
    for path, table in zip(paths, opened, strict=True):
        for row in table.rows:
            _add_row(samples, row, path)
    if not samples:
        raise DataError(f"{paths[0]}: got no rows, expected at least one")
    labels = {label for sample in samples.values() for label in sample.labels}
    return Dataset(
        name=name,
        samples=list(samples.values()),
        classnames=union(table.classnames for table in opened) or tuple(sorted(labels)),
        spoken={label: name for table in opened for label, name in table.spoken.items()},
        multi_label=any(table.multi_label for table in opened),
        templates=read_templates((lists or paths[0].parent) / TEMPLATES_FILE),
        ignored=ignored,
    )


def _add_row(samples: dict[str, Sample], row: tables.Row, table: Path) -> None:
    """Add a row's picture, or the row's words to the picture that is there already."""
    where = f"{table}: row {row.number}"
    if isinstance(row.image, TableImage):
        key, source = f"{table.stem}/{row.number}", row.image
    else:
        key, source = row.image, table.parent / row.image
        if key not in samples and not source.is_file():
            raise DataError(f"{where}: no such picture {row.image!r}, expected a path from there")
    known = samples.get(key)
    if known is None:
        concept = row.others.pop("concept", None) or None
        samples[key] = Sample(
            key=key,
            source=source,
            captions=row.texts,
            label=only(row.labels),
            labels=row.labels,
            concept=concept,
            metadata=row.others,
        )
    elif known.labels != row.labels:
        got, above = "|".join(row.labels), "|".join(known.labels)
        raise DataError(f"{where}: got {row.image!r} as {got!r}, expected {above!r} as above")
    else:
        captions = tuple(dict.fromkeys((*known.captions, *row.texts)))
        samples[key] = replace(known, captions=captions)
