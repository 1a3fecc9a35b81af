"""Keywords that three icon sets publish with their icons, by cleaned name."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from twinlens.curate.icons.concepts import slugify
from twinlens.curate.icons.names import clean_name
from twinlens.curate.icons.sources import (
    LUCIDE,
    PHOSPHOR,
    TABLER,
    fetch_package,
    read_json_member,
    read_members,
)

_PHOSPHOR_ENTRY = re.compile(r'name: "([^"]+)".*?tags: \[(.*?)\]', re.S)


def read_tags(cache: Path) -> dict[str, tuple[str, ...]]:
    """Keywords by the slug of an icon's cleaned name."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for name, tags in _read_all_tags(cache):
        key = slugify(clean_name(name))
        for tag in tags:
            if key and len(tag) > 1 and re.search(r"[a-z]", tag) and "*" not in tag:
                found[key][tag.lower().replace("-", " ")] = None
    return {key: tuple(tags) for key, tags in found.items()}


def _read_all_tags(cache: Path) -> Iterator[tuple[str, list[str]]]:
    yield from read_json_member(fetch_package(LUCIDE, cache), "tags.json").items()
    for name, entry in read_json_member(fetch_package(TABLER, cache), "icons.json").items():
        yield name, [str(tag) for tag in entry.get("tags", ())]
    for _, data in read_members(fetch_package(PHOSPHOR, cache), "dist/index.mjs"):
        for name, tags in _PHOSPHOR_ENTRY.findall(data.decode()):
            yield name, json.loads(f"[{tags}]")
