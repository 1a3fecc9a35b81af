"""The lists beside a data set's images: its classes' names, its prompts, and what kind it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from twinlens.data.sources.remote import Place, read_small
from twinlens.errors import DataError, require

CLASSNAMES_FILE = "classnames.txt"
"""Its classes' names, one a line: the first is class 0."""

TEMPLATES_FILE = "zeroshot_classification_templates.txt"
"""Its prompts, one a line."""

TYPE_FILE = "dataset_type.txt"
"""The file with the kind of a data set, as CLIP_benchmark writes it: see `read_type`."""

COUNT_FILE = "nshards.txt"
"""The file with the number of tars in the folder."""

METADATA_FILES = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
"""A table of the images beside and below it, as Hugging Face's image folders have it."""

LISTS = (CLASSNAMES_FILE, TEMPLATES_FILE, TYPE_FILE, COUNT_FILE, *METADATA_FILES)
"""Files that belong to a data set and are no samples."""

_DOCUMENTS = re.compile(r"(readme|licen[cs]e|notice|citation|attribution)([._-].*)?", re.IGNORECASE)

_TYPES = ("classification", "multilabel", "retrieval")


def is_document(name: str) -> bool:
    """True if a file is about the data set, for people: its README or licence."""
    return _DOCUMENTS.fullmatch(name) is not None


def read_lines(path: Place) -> tuple[str, ...]:
    """A file's lines without blanks around them and without empty ones; none if it is missing."""
    return tuple(filter(None, _lines(path)))


def read_classnames(path: Place) -> tuple[str, ...]:
    """The names of classes by their numbers, a line each; none if the file is missing.

    Raises:
        DataError: A line before the last name is empty: which class it stands for is not known.
    """
    names = _lines(path)
    while names and not names[-1]:
        names.pop()
    if "" in names:
        line = names.index("") + 1
        raise DataError(f"{path}: line {line}: got an empty line, expected the name of a class")
    return tuple(names)


def read_templates(path: Place) -> tuple[str, ...]:
    """Prompts, one a line; none if the file is missing.

    Raises:
        DataError: One has no place for the class.
    """
    lines = _lines(path)
    for number, line in enumerate(lines, start=1):
        require(
            not line or "{}" in line or "{c}" in line,
            f"{path}: line {number}",
            line,
            "a sentence with {} or {c}",
            DataError,
        )
    return tuple(filter(None, lines))


def read_type(path: Place) -> str:
    """`classification`, `multilabel` or `retrieval`; the first where the file is missing.

    Raises:
        DataError: It says something else.
    """
    told = " ".join(read_lines(path)).lower() or _TYPES[0]
    require(told in _TYPES, str(path), told, f"one of {', '.join(_TYPES)}", DataError)
    return told


def check_count(path: Place, tars: int) -> None:
    """Make sure that a folder has as many tars as its `nshards.txt` says, if it has one.

    Raises:
        DataError: It has more or fewer, or the file holds no number.
    """
    told = " ".join(read_lines(path))
    require(
        not told or told == str(tars),
        str(path),
        told,
        f"{tars}, as many as there are tars",
        DataError,
    )


def distinct_labels(names: Sequence[str]) -> tuple[str, ...]:
    """A label for each class: its name, with its number where another class has that label.

    Data sets have two classes of one name, such as ImageNet's two cranes: they stay two.

    Example:
        >>> distinct_labels(["crane", "egret", "crane"])
        ('crane', 'egret', 'crane (2)')
    """
    first = {name: number for number, name in reversed(list(enumerate(names)))}
    taken = set(first)
    labels: list[str] = []
    for number, name in enumerate(names):
        label = name
        while label in taken and first[name] != number:
            label = f"{label} ({number})"
        taken.add(label)
        labels.append(label)
    return tuple(labels)


def spoken_names(labels: Sequence[str], names: Sequence[str]) -> Mapping[str, str]:
    """The names of those classes whose label is another."""
    pairs = zip(labels, names, strict=True)
    return {label: name for label, name in pairs if label != name}


def check_named(labels: Sequence[str], where: str) -> None:
    """Make sure that every class has a name.

    Raises:
        DataError: One is blanks and underscores only.
    """
    for label in labels:
        if not label.replace("_", " ").strip():
            raise DataError(f"{where}: got the class {label!r}, expected a name that is not empty")


def _lines(path: Place) -> list[str]:
    data = read_small(path) or b""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: got bytes that are not UTF-8 ({error}), expected text") from error
    return [line.strip() for line in lines]
