"""Metadata beside an image that nobody asked for: none of it may cost a pair of image and text."""

from __future__ import annotations

import json
from typing import Any

FIELDS = ("captions", "caption", "concept", "label", "labels", "text", "title")
"""Fields of a JSON that some readers use."""

VALUES: list[Any] = [
    {"en": "another text", "de": ["noch einer"]},
    {},
    "one string",
    "",
    None,
    7,
    -1,
    0.75,
    True,
    False,
    [],
    [None],
    [{"text": "a caption", "score": 0.9}],
    ["cat", "cat"],
    [1, 1],
    [0.5, 0.5],
    [-1],
    [["nested"]],
    {"name": "cat", "confidence": 0.3},
    99999999999999999999,
    "class that is in no list",
]
"""What other data sets put there."""

RAW: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "null": b"null",
    "list": b'["a", "b"]',
    "string": b'"only a string"',
    "number": b"3.5",
    "true": b"true",
    "bom": b"\xef\xbb\xbf" + json.dumps({"width": 3}).encode(),
    "utf-16": json.dumps({"titre": "été"}, ensure_ascii=False).encode("utf-16"),
    "latin-1": '{"titre": "été"}'.encode("latin-1"),
    "cut": b'{"width": 3, "hei',
    "python": b"{'width': 3}",
    "nan": b'{"score": NaN}',
    "two objects": b'{"a": 1}\n{"a": 2}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "long number": b'{"id": ' + b"9" * 5_000 + b"}",
    "zeros": b"\0" * 64,
}
"""JSON members that are no object, or no UTF-8, or beyond the parser."""

BESIDE: dict[str, bytes] = {
    "cls": b"no number",
    "npy": b"not an array",
    "mask.png": b"not an image that anyone reads",
    "seg.npz": b"\0\1",
    "xml": b"<annotation/>",
    "id": b"\xff\xfe",
}
"""Members beside an image and its text that contrastive training does not need."""


def documents() -> dict[str, bytes]:
    """Every odd JSON by a name: each value in each field, and those that are no object."""
    odd = {
        f"{field}={json.dumps(value)[:30]}": json.dumps({field: value, "width": 12}).encode()
        for field in FIELDS
        for value in VALUES
    }
    return odd | RAW
