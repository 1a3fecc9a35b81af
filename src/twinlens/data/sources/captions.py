"""Captions and metadata of a sample: where they are looked for, and in which order.

The first source that has a caption decides, the same in tars, in folders and beside either:

1. `captions` of the sample's JSON, a list of texts;
2. its `.txt`, a caption a line;
3. its `.caption`, a caption a line;
4. `text`, `caption`, `title` or `captions` of the JSON, a text or a list of texts;
5. the table beside: `00000.parquet` of `00000.tar`, or `metadata.csv`, `.tsv`, `.jsonl` or
   `.parquet` of a folder, by its columns `text`, `caption`, `title`.

What is of another kind is kept as metadata and named in `passed_over`; it costs no sample.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

from twinlens.errors import DataError, MissingExtraError

TEXT_FIELDS = ("text", "caption", "title")
"""Fields and columns that hold a caption, the first that has one."""

NO_OBJECT = "JSON that cannot be read as an object"
NO_TEXT = "text that is not UTF-8"
UNREADABLE = "file of captions or metadata that cannot be read"

_Value = TypeVar("_Value")

_HALVES = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""Halves of a character in a JSON: one alone is no text, and nothing could write it."""


def another_kind(name: str) -> str:
    """The reason for which a field is passed over."""
    return f"metadata {name!r} of another kind"


@dataclass(slots=True)
class Description:
    """The captions and metadata of a sample.

    Attributes:
        captions: Perhaps none.
        concept: What it depicts, where the JSON names it.
        metadata: Everything else of the JSON.
        passed_over: What could not be used, a reason each.
    """

    captions: tuple[str, ...] = ()
    concept: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    passed_over: list[str] = field(default_factory=list[str])


def describe(
    read: Callable[[str], bytes | None], beside: Callable[[], tuple[str, ...]]
) -> Description:
    """Read a sample's captions and metadata.

    What cannot be read is passed over as what is of another kind: not every task needs it.

    Args:
        read: Gives the bytes of the sample's file with an ending, or None where there is none.
        beside: Gives the captions of the table beside.
    """
    found = Description()
    found.metadata = read_json(_attempt(partial(read, "json"), found), found.passed_over)
    found.concept = pop_concept(found.metadata, found.passed_over)
    # Nothing more is read where the JSON has captions: each read opens a file.
    found.captions = (
        _listed(found)
        or _from_files(read, found)
        or _from_fields(found)
        or _attempt(beside, found)
        or ()
    )
    return found


def _attempt(work: Callable[[], _Value], found: Description) -> _Value | None:
    try:
        return work()
    except DataError:
        found.passed_over.append(UNREADABLE)
    except MissingExtraError as error:
        found.passed_over.append(str(error))
    return None


def _listed(found: Description) -> tuple[str, ...]:
    """The list of texts `captions` of the JSON."""
    if "captions" not in found.metadata:
        return ()
    given = found.metadata["captions"]
    texts = texts_of(given) if isinstance(given, list) else None
    if texts is None:
        found.passed_over.append(another_kind("captions"))
        return ()
    del found.metadata["captions"]
    return texts


def read_json(data: bytes | None, passed_over: list[str]) -> dict[str, Any]:
    """A JSON object in any of Unicode's encodings; empty where it is none, which is told."""
    if data is None:
        return {}
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        content: object = json.loads(text)
        if _HALVES.search(text):
            content = json.loads(json.dumps(content, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):  # nested deeper than the parser goes
        content = None
    if not isinstance(content, dict):
        passed_over.append(NO_OBJECT)
        return {}
    return cast("dict[str, Any]", content)


def texts_of(value: object) -> tuple[str, ...] | None:
    """A text or a list of texts, each on one line, without empty ones; None where it is neither.

    Example:
        >>> texts_of(["a cat", " "]), texts_of("a cat"), texts_of({"en": "a cat"}), texts_of([1])
        (('a cat',), ('a cat',), None, None)
    """
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    texts = [" ".join(item.split()) for item in items if isinstance(item, str)]
    return tuple(filter(None, texts)) if len(texts) == len(items) else None


def pop_concept(metadata: dict[str, Any], passed_over: list[str]) -> str | None:
    """Take the concept out of metadata; one of another kind stays there, which is told."""
    concept = metadata.get("concept")
    if isinstance(concept, str):
        del metadata["concept"]
        return concept or None
    if "concept" in metadata:
        passed_over.append(another_kind("concept"))
    return None


def unique_labels(labels: Sequence[_Value], passed_over: list[str]) -> tuple[_Value, ...]:
    """Labels in their order, each once; that one is there twice is told."""
    found = tuple(dict.fromkeys(labels))
    if len(found) < len(labels):
        passed_over.append("class that a sample names twice")
    return found


def _from_files(read: Callable[[str], bytes | None], found: Description) -> tuple[str, ...]:
    for ending in ("txt", "caption"):
        data = _attempt(partial(read, ending), found)
        if data is None:
            continue
        try:
            lines = data.decode(text_encoding(data)).splitlines()
        except UnicodeDecodeError:
            found.passed_over.append(NO_TEXT)
            continue
        if texts := tuple(filter(None, map(str.strip, lines))):
            return texts
    return ()


def text_encoding(head: bytes) -> str:
    """UTF-16 for bytes that begin with its mark; else UTF-8, to which some programs put one, too.

    Args:
        head: At least the first two bytes.
    """
    is_utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf16 else "utf-8-sig"


def _from_fields(found: Description) -> tuple[str, ...]:
    for name in (*TEXT_FIELDS, "captions"):
        if name not in found.metadata:
            continue
        texts = texts_of(found.metadata[name])
        if texts:
            del found.metadata[name]
            reason = another_kind(name)
            if reason in found.passed_over:  # a text where a list is the rule, used after all
                found.passed_over.remove(reason)
            return texts
        if texts is None and name != "captions":
            found.passed_over.append(another_kind(name))
    return ()
