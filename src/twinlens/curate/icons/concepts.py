"""Concepts: what an image shows, whatever its style; and which concepts are held out.

An emoji's concept is its code points (`1f408`); an icon's is its cleaned name, unless that is
the name of an emoji: then both are one concept.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from twinlens.curate.icons.aliases import EMOJI_ALIASES
from twinlens.curate.icons.names import word_set
from twinlens.curate.icons.sources import read_members

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "uk"),
    *("tr", "ar", "hi", "ja", "ko", "zh", "sv"),
)
"""Languages of the emoji's names and keywords; English first."""

EMOJI_HELD_OUT = 50
ICONS_HELD_OUT = 100
"""Concepts held out of a thousand: of those that share a name with an emoji, and of the rest."""

T = TypeVar("T")

_TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff\U000e0020-\U000e007f]")


@dataclass(frozen=True, slots=True)
class Words:
    """What may be said of a concept: names and keywords by language."""

    names: Mapping[str, str]
    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def label(self) -> str:
        """The English name."""
        return self.names["en"]


def codepoints(text: str) -> str:
    """An emoji's concept: its code points without the presentation selector.

    Example:
        >>> codepoints("❤️"), codepoints("👩‍🚀")
        ('2764', '1f469-200d-1f680')
    """
    return "-".join(f"{ord(char):x}" for char in text if char != "\ufe0f")


def characters(concept: str) -> str:
    """The inverse of `codepoints`."""
    return "".join(chr(int(point, 16)) for point in concept.split("-"))


def kind(concept: str) -> str:
    """Whether an emoji is `base`, a `tone` variant or a `flag`."""
    text = characters(concept)
    if _FLAG.search(text):
        return "flag"
    # A tone swatch alone is an image of its own, not a variant of one.
    return "tone" if len(text) > 1 and _TONE.search(text) else "base"


def without_tone(concept: str) -> str:
    """The emoji that a skin-tone variant is a variant of."""
    return codepoints(_TONE.sub("", characters(concept)))


def slug(name: str) -> str:
    """A name as a key: lower case, no accents, words joined by hyphens.

    Example:
        >>> slug("Piñata: O'Neil & co")
        'pinata-oneil-and-co'
    """
    plain = unicodedata.normalize("NFKD", name.lower())
    plain = "".join(
        char for char in plain if not unicodedata.combining(char) and char not in "'\u2019"
    )
    plain = plain.replace("&", " and ").replace("#", " hash ").replace("*", " asterisk ")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


_PERSONS = word_set("man woman men women person people boy girl face male female")


def family(name: str) -> str:
    """Names that must not be parted by the split share this key.

    Words for persons and plurals are dropped, so that "man running", "woman running" and
    "runners" ... stay as near as spelling can keep them.

    Example:
        >>> family("cat face"), family("Cats"), family("woman running"), family("woman")
        ('cat', 'cat', 'running', 'woman')
    """
    words = [_singular(word) for word in slug(name).split("-")]
    return "-".join([word for word in words if word not in _PERSONS] or words)


def _singular(word: str) -> str:
    plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word


def lot(name: str) -> int:
    """A number from 0 to 999, decided by the family of a name alone."""
    digest = hashlib.blake2b(family(name).encode(), digest_size=8, person=b"held out").digest()
    return int.from_bytes(digest, "big") % 1000


class EmojiTable:
    """Names of every emoji, and every emoji by any of its names."""

    def __init__(self, words: Mapping[str, Words]) -> None:
        self.words = words
        self._official = {slug(entry.label): concept for concept, entry in words.items()}
        self._families = {family(entry.label) for entry in words.values()}
        self._by_name: dict[str, str] = {}
        for concept, entry in words.items():
            self._add(entry.label, concept)
        for name, concept in EMOJI_ALIASES.items():
            self._add(name, concept)
        for concept in words:
            if "-" not in concept:
                formal = unicodedata.name(characters(concept), "")
                self._add(formal, concept)
                self._official.setdefault(slug(formal), concept)

    def _add(self, name: str, concept: str) -> None:
        key = slug(name)
        if key and concept in self.words:
            self._by_name.setdefault(key, concept)
            self._by_name.setdefault(key.replace("-", ""), concept)  # one set runs words together

    def add_set(self, chars: Mapping[str, str], aliases: Mapping[str, str]) -> None:
        """Learn a set's own names: `chars` maps code points to icons, `aliases` names to icons."""
        for points, name in chars.items():
            self._add(name, codepoints(characters(points)))
        for alias, name in aliases.items():
            if (concept := self.find(name)) is not None:
                self._add(alias, concept)

    def held_out(self, name: str) -> bool:
        """Whether a concept of this name, emoji or icon, belongs to the unseen ones."""
        share = EMOJI_HELD_OUT if family(name) in self._families else ICONS_HELD_OUT
        return lot(name) < share

    def find_official(self, name: str) -> str | None:
        """The concept whose English name in CLDR or Unicode this is, or None."""
        return self._official.get(slug(name))

    def find(self, name: str) -> str | None:
        """The concept of this very name in CLDR, Unicode or an emoji set, or None."""
        return self._by_name.get(slug(name))

    def find_loosely(self, name: str) -> str | None:
        """Also without a trailing number ("cake-2") and with or without "face"."""
        plain = re.sub(r"-\d$", "", slug(name))
        tries = (name, plain, plain + "-face", plain.removesuffix("-face"))
        return next((found for text in tries if (found := self.find(text)) is not None), None)


def read_emoji(cldr: Path, derived: Path, known: Container[str]) -> EmojiTable:
    """The names and keywords in `LANGUAGES` of the emoji in `known`, from CLDR.

    CLDR also names plain characters ("{" is a "left curly bracket"): `known` leaves them out.
    """
    names: dict[str, dict[str, str]] = {}
    keywords: dict[str, dict[str, tuple[str, ...]]] = {}
    for language, text, entry in _annotations((derived, cldr)):
        concept = codepoints(text)
        if "tts" in entry:
            names.setdefault(concept, {})[language] = entry["tts"][0]
        keywords.setdefault(concept, {})[language] = tuple(entry.get("default", ()))
    return EmojiTable(
        {
            concept: Words(_in_order(found), _in_order(keywords.get(concept, {})))
            for concept, found in sorted(names.items())
            if "en" in found and concept in known
        }
    )


def _annotations(archives: Iterable[Path]) -> Iterable[tuple[str, str, Mapping[str, list[str]]]]:
    """(language, emoji, {"tts": [name], "default": [keyword, ...]}) of both CLDR packages."""
    for archive in archives:
        for name, data in read_members(archive, "annotations", "annotations.json"):
            language = name.split("/")[1]
            if language in LANGUAGES:
                (content,) = json.loads(data).values()
                for text, entry in content["annotations"].items():
                    yield language, text, entry


def _in_order(by_language: Mapping[str, T]) -> dict[str, T]:
    return {language: by_language[language] for language in LANGUAGES if language in by_language}
