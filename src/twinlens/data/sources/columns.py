"""Columns of tables by their names: which is the image, which hold captions, which the class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twinlens.data.sources.captions import TEXT_FIELDS
from twinlens.errors import DataError

IMAGE_FIELDS = ("image", "filepath", "file_name", "filename", "image_path", "img", "jpg", "url")
"""Names of the column of images, in any case; the first that is there is taken."""

_TEXTS = ("captions", *TEXT_FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    r"""A user's names of a table's columns; by default the known names.

    Attributes:
        image: The column of images.
        text: The column of captions.
        separator: What cells of a CSV or TSV file lie between; a tab may be written `\t` or "tab".
    """

    image: str | None = None
    text: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        written = {"tab": "\t", "\\t": "\t"}.get(self.separator or "", self.separator)
        if written is not None and len(written) != 1:
            raise DataError(f"separator: got {self.separator!r}, expected one character or tab")
        object.__setattr__(self, "separator", written)
        for name in ("image", "text"):  # as columns are compared: some files have blanks there
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, given.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The columns that are used, by their own names.

    Attributes:
        image: Images.
        texts: Captions, the first of a row that has one.
        label: The class, or None.
        several: Whether that column has any number of classes a row.
    """

    image: str
    texts: tuple[str, ...]
    label: str | None
    several: bool


def choose(names: Sequence[str], wanted: Columns, *, words: bool = True) -> Chosen | None:
    """The columns of a table; None where there are none that tell images and their words.

    `label` decides over `labels`, which is another column then, like any.

    Args:
        names: All columns.
        wanted: What the user says.
        words: Whether captions or classes have to be there.
    """
    known = {name.strip().lower(): name for name in reversed(names)}  # the first of a name is it
    image = _first(known, IMAGE_FIELDS if wanted.image is None else (wanted.image,))
    texts = _TEXTS if wanted.text is None else (wanted.text,)
    found = tuple(known[key] for field in texts if (key := field.lower()) in known)
    label = _first(known, ("label", "labels"))
    lacking = wanted.text is not None and not found
    if image is None or lacking or (words and not found and label is None):
        return None
    several = label is not None and "label" not in known
    return Chosen(image=image, texts=found, label=label, several=several)


def _first(known: dict[str, str], fields: Sequence[str]) -> str | None:
    return next((known[key] for field in fields if (key := field.lower()) in known), None)


def refusal(path: Path, names: Sequence[str], wanted: Columns) -> DataError:
    """Return the error of a table without the columns."""
    found = ", ".join(map(repr, names)) or "none"
    images = ", ".join(map(repr, (wanted.image,) if wanted.image else IMAGE_FIELDS))
    texts = ", ".join(map(repr, (wanted.text,) if wanted.text else _TEXTS))
    return DataError(
        f"{path}: got the columns {found}, expected one of images ({images}) and one of captions "
        f"({texts}) or 'label'; --image-column, --text-column and --separator name others"
    )
