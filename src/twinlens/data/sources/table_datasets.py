"""Tables as data sets: rows of one image joined, their images found, their classes named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from twinlens.data.left_out import MISSING, NO_CAPTION, LeftOut
from twinlens.data.samples import Dataset, Sample, only, union
from twinlens.data.sources.columns import Columns
from twinlens.data.sources.metadata_files import (
    TEMPLATES_FILE,
    distinct_labels,
    read_templates,
    spoken_names,
)
from twinlens.data.sources.natural_order import natural_key
from twinlens.data.sources.remote import UrlImage, is_url
from twinlens.data.sources.tables import Row, Table, TableImage, read_table
from twinlens.errors import DataError
from twinlens.types import Split

NO_IMAGE_CELL = "row without an image"


@dataclass(slots=True)
class _Reading:
    """The samples of all tables' rows, while they are read.

    Attributes:
        samples: By their keys.
        left_out: Rows that are not used.
        problem: The first thing that is wrong with a class; who asks for classes is told.
    """

    samples: dict[str, Sample] = field(default_factory=dict[str, Sample])
    left_out: LeftOut = field(default_factory=LeftOut)
    problem: DataError | None = None


def open_tables(
    paths: Sequence[Path],
    name: str,
    wanted: Columns | None = None,
    *,
    left_out: LeftOut | None = None,
    lists: Path | None = None,
    split: Split | None = None,
) -> Dataset:
    """Open tables as one data set.

    Rows whose image is missing are left out and counted.

    Args:
        paths: The tables.
        name: What to call the data set.
        wanted: Names of columns.
        left_out: Files beside that do not belong to it.
        lists: The folder of its prompts; by default that of the tables.
        split: Which split of a larger data set it is.

    Raises:
        DataError: A table is broken or lacks columns, or no row has an image.
        MissingExtraError: It is Parquet and pyarrow is not installed.
    """
    reading = _Reading(left_out=left_out or LeftOut())
    tables = [read_table(path, wanted) for path in paths]
    spoken: dict[str, str] = {}
    for path, table in zip(paths, tables, strict=True):
        labels = distinct_labels(table.classnames)
        spoken |= spoken_names(labels, table.classnames)
        for row in table.rows:
            _add_row(reading, row, path, labels)
    samples = list(reading.samples.values())
    _check_any(samples, reading, tables, paths[0])
    without_caption = LeftOut()
    for sample in samples:
        if not sample.captions:
            without_caption.add(NO_CAPTION, sample.where)
    return Dataset(
        name=name,
        samples=samples,
        classnames=partial(_classnames, tables, samples, reading.problem),
        spoken=spoken,
        multi_label=any(table.multi_label for table in tables),
        templates=partial(read_templates, (lists or paths[0].parent) / TEMPLATES_FILE),
        left_out=reading.left_out,
        without_caption=without_caption,
        split=split,
    )


def _check_any(
    samples: Sequence[Sample], reading: _Reading, tables: Sequence[Table], first: Path
) -> None:
    if samples:
        return
    if not any(table.rows for table in tables):
        raise DataError(f"{first}: got no rows, expected at least one")
    told = "; ".join(reading.left_out.lines())
    raise DataError(f"{first}: got no row with an image that is there, expected some: {told}")


def _classnames(
    tables: Sequence[Table], samples: Sequence[Sample], problem: DataError | None
) -> tuple[str, ...]:
    """The tables' own classes in their order, or else the labels of the rows.

    Raises:
        DataError: A label cannot be used.
    """
    if problem is not None:
        raise problem
    labels = {label for sample in samples for label in sample.labels}
    named = union(distinct_labels(table.classnames) for table in tables)
    return named or tuple(sorted(labels, key=natural_key))


def _add_row(reading: _Reading, row: Row, table: Path, classes: Sequence[str]) -> None:
    """Add a row's image, or the row's words to the image that is there already."""
    if row.image is None:
        reading.left_out.add(NO_IMAGE_CELL, row.where)
        return
    key, source = _image(row, row.image, table)
    known = reading.samples.get(key)
    if known is None and isinstance(source, Path) and not source.is_file():
        reading.left_out.add(MISSING, f"{row.where}: {row.image}")
        return
    labels = _named(reading, row, classes)
    if known is None:
        reading.samples[key] = Sample(
            key=key,
            source=source,
            captions=row.texts,
            label=only(labels),
            labels=labels,
            concept=row.concept,
            metadata=row.others,
            passed_over=row.passed_over,
        )
        return
    if known.labels != labels and reading.problem is None:
        got, above = "|".join(labels), "|".join(known.labels)
        reading.problem = DataError(
            f"{row.where}: got {row.image!r} as {got!r}, expected {above!r} as above"
        )
    captions = tuple(dict.fromkeys((*known.captions, *row.texts)))
    odd = (*known.passed_over, *row.passed_over)
    reading.samples[key] = replace(known, captions=captions, passed_over=odd)


def _image(
    row: Row, image: str | TableImage, table: Path
) -> tuple[str, Path | TableImage | UrlImage]:
    if isinstance(image, TableImage):
        return f"{table.stem}/{row.number}", image
    if is_url(image):
        return image, UrlImage(image)
    image = image.removeprefix("./")  # one name for each image
    path = table.parent / image
    if "\\" in image and not path.exists():  # as Windows writes it
        path = table.parent / image.replace("\\", "/")
    return image, path


def _named(reading: _Reading, row: Row, classes: Sequence[str]) -> tuple[str, ...]:
    """The labels of a row by name; a number is a place among the table's classes."""
    named: list[str] = []
    for label in row.labels:
        if isinstance(label, str) or not classes:
            named.append(str(label))
        elif 0 <= label < len(classes):
            named.append(classes[label])
        elif reading.problem is None:
            reading.problem = DataError(
                f"{row.where}: got class {label}, expected 0 to {len(classes) - 1}"
            )
    return tuple(named)


def rows_by_image(path: Path, wanted: Columns | None = None) -> Mapping[str, list[Row]]:
    """The rows of a table of images beside it, by the images' paths from its folder.

    Raises:
        DataError: It is broken, or has no column of images.
        MissingExtraError: It is Parquet and pyarrow is not installed.
    """
    found: dict[str, list[Row]] = {}
    for row in read_table(path, wanted, words=False).rows:
        if isinstance(row.image, str):
            found.setdefault(row.image.removeprefix("./").replace("\\", "/"), []).append(row)
    return found
