"""Where captions lie, in folders, tars and tables: every source and which of two comes first."""

from __future__ import annotations

import json

MEMBERS: dict[str, tuple[dict[str, bytes], tuple[str, ...]]] = {
    "txt": ({"txt": b"a cat"}, ("a cat",)),
    "TXT": ({"TXT": b"a cat"}, ("a cat",)),
    "txt with a mark": ({"txt": b"\xef\xbb\xbfa cat\n"}, ("a cat",)),
    "txt of two lines": ({"txt": b"a cat\n\n two \n"}, ("a cat", "two")),
    "caption": ({"caption": b"a cat"}, ("a cat",)),
    "json captions": ({"json": json.dumps({"captions": ["a", "b"]}).encode()}, ("a", "b")),
    "json caption": ({"json": json.dumps({"caption": "a cat"}).encode()}, ("a cat",)),
    "json text": ({"json": json.dumps({"text": "a cat"}).encode()}, ("a cat",)),
    "json title": ({"json": json.dumps({"title": "a cat"}).encode()}, ("a cat",)),
    "json caption as a list": ({"json": json.dumps({"caption": ["a", "b"]}).encode()}, ("a", "b")),
    "json captions as a string": ({"json": json.dumps({"captions": "a cat"}).encode()}, ("a cat",)),
    "captions before txt": (
        {"json": json.dumps({"captions": ["first"]}).encode(), "txt": b"second"},
        ("first",),
    ),
    "txt before json caption": (
        {"json": json.dumps({"caption": "second"}).encode(), "txt": b"first"},
        ("first",),
    ),
    "txt before captions of another kind": (
        {"json": json.dumps({"captions": "second"}).encode(), "txt": b"first"},
        ("first",),
    ),
    "txt before caption": ({"txt": b"first", "caption": b"second"}, ("first",)),
    "an empty txt, then caption": ({"txt": b" \n", "caption": b"a cat"}, ("a cat",)),
    "an empty txt, then json": (
        {"txt": b"", "json": json.dumps({"caption": "a cat"}).encode()},
        ("a cat",),
    ),
    "empty captions, then json caption": (
        {"json": json.dumps({"captions": [], "caption": "a cat"}).encode()},
        ("a cat",),
    ),
    "json text before caption": (
        {"json": json.dumps({"caption": "second", "text": "first"}).encode()},
        ("first",),
    ),
}
"""Files beside an image, by their endings, and the captions that follow from them."""

IMAGE_COLUMNS = ("image", "filepath", "file_name", "image_path", "img", "jpg", "url")
TEXT_COLUMNS = ("text", "caption", "title")
"""Names of the columns of tables, in any case."""

SEPARATED: dict[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
"""What cells of a `.csv` may be separated by."""
