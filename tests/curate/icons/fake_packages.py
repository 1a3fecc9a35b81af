"""Small packages in the shape of the real ones, so that tests need neither npm nor a network.

Run as a program it builds a corpus from them, for tests that kill it.
"""

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from twinlens.curate.icons import sources
from twinlens.curate.icons.build import build_corpus
from twinlens.curate.icons.concepts import LANGUAGES
from twinlens.curate.icons.config import IconsConfig
from twinlens.curate.icons.iconify import ICONIFY_EMOJI_STYLES
from twinlens.data.left_out import LeftOut
from twinlens.data.webdataset.shards import ShardSample, list_samples

EMOJI = {
    "1f408": ("cat", "Katze"),
    "1f415": ("dog", "Hund"),
    "1f6b2": ("bicycle", "Fahrrad"),
    "1f355": ("pizza", "Pizza"),
    "1f989": ("owl", "Eule"),  # held out
    "1f981": ("lion", "Löwe"),  # held out
    "1f44b": ("waving hand", "winkende Hand"),
    "1f44b-1f3ff": ("waving hand: dark skin tone", "winkende Hand: dunkel"),
    "1f44b-1f3fb": ("waving hand: light skin tone", "winkende Hand: hell"),
    "1f1eb-1f1f7": ("flag: France", "Flagge: Frankreich"),
    "1f1e9-1f1ea": ("flag: Germany", "Flagge: Deutschland"),
}
ICONS = ("cat", "bicycle", "owl", "truck-delivery", "arrow-left", "brand-acme", "x-1", "lamp-desk")
COLLECTION = {
    "lucide": {"license": {"spdx": "ISC", "title": "ISC"}},
    "tabler": {"license": {"spdx": "MIT", "title": "MIT"}},
    "flat-color-icons": {"license": {"spdx": "MIT", "title": "MIT"}, "palette": True},
    "ri": {"license": {"spdx": "Apache-2.0", "title": "Apache 2.0"}},
    "share": {"license": {"spdx": "CC-BY-SA-4.0", "title": "CC BY-SA 4.0"}},
    "logos": {"license": {"spdx": "CC0-1.0", "title": "CC0"}, "category": "Logos"},
}


def build_fake(out: Path, cache: Path, workers: int = 1, **settings: Any) -> dict[str, Any]:
    chosen = {"size": 24, "samples_per_shard": 8, "clipart": False, "styles": ICONIFY_EMOJI_STYLES}
    return build_corpus(out, cache, IconsConfig(**{**chosen, **settings}), workers=workers)


def list_all(part: Path) -> list[ShardSample]:
    """The samples of all tars of a part."""
    tars = sorted(part.glob("*.tar"))
    return [sample for tar in tars for sample in list_samples(tar, LeftOut())]


def trust_fakes(cache: Path) -> None:
    """Let the fakes stand for the pinned packages."""
    real = sources.file_sha256
    pins = {cache / package.filename: package.sha256 for package in sources.PACKAGES}
    sources.file_sha256 = lambda path: pins.get(path) or real(path)


def write_packages(cache: Path) -> None:
    """Write every package that the fake corpus reads."""
    cache.mkdir(parents=True, exist_ok=True)
    _write(cache, sources.ICONIFY, _iconify())
    _write(cache, sources.CLDR, _annotations("annotations", tones=False))
    _write(cache, sources.CLDR_DERIVED, _annotations("annotationsDerived", tones=True))
    _write(cache, sources.LUCIDE, {"tags.json": {"arrow-left": ["back", "*new*"]}})
    _write(cache, sources.TABLER, {"icons.json": {"arrow-left": {"tags": ["west", 3]}}})
    index = 'x = [{ name: "arrow-left", tags: ["return", "*new*"], published_in: 1 }]'
    _write(cache, sources.PHOSPHOR, {"dist/index.mjs": index})


def _write(cache: Path, package: sources.NpmPackage, files: dict[str, Any]) -> None:
    with tarfile.open(cache / package.filename, "w:gz") as tar:
        for name, content in files.items():
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _iconify() -> dict[str, Any]:
    files: dict[str, Any] = {}
    collection: dict[str, Any] = {}
    for number, style in enumerate(ICONIFY_EMOJI_STYLES):
        collection[style] = {"license": {"spdx": "MIT", "title": "MIT"}, "palette": True}
        files[f"json/{style}.json"] = _emoji_set(number)
    for number, (prefix, info) in enumerate(COLLECTION.items()):
        collection[prefix] = info
        files[f"json/{prefix}.json"] = _icon_set(number)
    about = {"author": {"name": "A. Person", "url": "https://example.org"}, "total": 10}
    files["collections.json"] = {
        prefix: {"name": prefix.title(), **about, **info} for prefix, info in collection.items()
    }
    return files


def _emoji_set(number: int) -> dict[str, Any]:
    names = {
        points: name.replace(": ", "-").replace(" ", "-") for points, (name, _) in EMOJI.items()
    }
    bodies = {
        name: {"body": f'<path fill="#{n:x}39" d="M{n} {number}h20v{20 - n}H{n}z"/>'}
        for n, name in enumerate(names.values())
    }
    return {
        "icons": bodies,
        "chars": names,
        "categories": {"Animals & Nature": ["cat", "dog", "owl", "lion"], "Objects": ["bicycle"]},
        "width": 32,
        "height": 32,
    }


def _icon_set(number: int) -> dict[str, Any]:
    bodies = {
        name: {"body": f'<path fill="currentColor" d="M{n} {number}h9v9H{n}z"/>'}
        for n, name in enumerate(ICONS)
    }
    empty = {"empty-page": {"body": "<g/>"}, "old-name": {"body": "<g/>", "hidden": True}}
    aliases = {
        "arrow-right": {"parent": "arrow-left", "hFlip": True},
        "arrow-west": {"parent": "arrow-left"},
    }
    return {"icons": bodies | empty, "aliases": aliases, "width": 24, "height": 24}


def _annotations(folder: str, *, tones: bool) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for language in (*LANGUAGES[:3], "xx"):
        entries = {
            "".join(chr(int(p, 16)) for p in points.split("-")): {
                "default": ["pet", "animal", name] if language == "en" else [german],
                "tts": [name if language == "en" else german],
            }
            for points, (name, german) in EMOJI.items()
            if (":" in name) == tones
        }
        entries |= {} if tones else {"{": {"tts": ["left curly bracket"]}}
        content = {folder: {"identity": {"language": language}, "annotations": entries}}
        files[f"{folder}/{language}/annotations.json"] = content
    return files


if __name__ == "__main__":
    trust_fakes(Path(sys.argv[2]))
    build_fake(Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]))
