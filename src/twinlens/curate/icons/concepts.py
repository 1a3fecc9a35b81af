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

from twinlens.curate.icons.names import split_words
from twinlens.curate.icons.sources import read_members

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "uk"),
    *("tr", "ar", "hi", "ja", "ko", "zh", "sv"),
)
"""Languages of the emoji's names and keywords; English first."""

EMOJI_HELD_OUT_PER_MILLE = 50
ICONS_HELD_OUT_PER_MILLE = 100
"""Concepts held out of a thousand: of those that share a name with an emoji, and of the rest."""

_ALIASES_FILE = Path(__file__).parents[2] / "assets" / "emoji_aliases.json"

T = TypeVar("T")

_SKIN_TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff\U000e0020-\U000e007f]")


@dataclass(frozen=True, slots=True)
class ConceptWords:
    """The words of a concept: names and keywords by language."""

    names: Mapping[str, str]
    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def label(self) -> str:
        """The English name."""
        return self.names["en"]


def to_codepoints(text: str) -> str:
    """An emoji's concept: its code points without the presentation selector.

    Example:
        >>> to_codepoints("❤️"), to_codepoints("👩‍🚀")
        ('2764', '1f469-200d-1f680')
    """
    return "-".join(f"{ord(char):x}" for char in text if char != "\ufe0f")


def from_codepoints(concept: str) -> str:
    """The inverse of `to_codepoints`."""
    return "".join(chr(int(point, 16)) for point in concept.split("-"))


def emoji_kind(concept: str) -> str:
    """The kind of an emoji: `base`, a `tone` variant or a `flag`."""
    text = from_codepoints(concept)
    if _FLAG.search(text):
        return "flag"
    # A tone swatch alone is an image of its own, not a variant of one.
    return "tone" if len(text) > 1 and _SKIN_TONE.search(text) else "base"


def strip_skin_tone(concept: str) -> str:
    """The emoji that a skin-tone variant is a variant of."""
    return to_codepoints(_SKIN_TONE.sub("", from_codepoints(concept)))


def slugify(name: str) -> str:
    """A name as a key: lower case, no accents, words joined by hyphens.

    Example:
        >>> slugify("Piñata: O'Neil & co")
        'pinata-oneil-and-co'
    """
    plain = unicodedata.normalize("NFKD", name.lower())
    plain = "".join(
        char for char in plain if not unicodedata.combining(char) and char not in "'\u2019"
    )
    plain = plain.replace("&", " and ").replace("#", " hash ").replace("*", " asterisk ")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


_PERSON_WORDS = split_words("man woman men women person people boy girl face male female")


def name_family(name: str) -> str:
    """Names that must not be parted by the split share this key.

    Words for persons and plurals are dropped, so that "man running", "woman running" and
    "runners" ... stay as near as spelling can keep them.

    Example:
        >>> [name_family(name) for name in ("cat face", "Cats", "woman running", "woman")]
        ['cat', 'cat', 'running', 'woman']
    """
    words = [_singularise(word) for word in slugify(name).split("-")]
    return "-".join([word for word in words if word not in _PERSON_WORDS] or words)


def _singularise(word: str) -> str:
    plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word


def hash_bucket(name: str) -> int:
    """A number from 0 to 999, decided by the family of a name alone."""
    digest = hashlib.blake2b(name_family(name).encode(), digest_size=8, person=b"held out").digest()
    return int.from_bytes(digest, "big") % 1000


def emoji_aliases() -> dict[str, str]:
    """The concepts of names that icon sets use for emoji and that neither CLDR nor Unicode knows.

    Most are of one early set that named its drawings in its own words and spelling.
    """
    return json.loads(_ALIASES_FILE.read_text(encoding="utf-8"))


class EmojiTable:
    """Names of every emoji, and every emoji by any of its names."""

    def __init__(self, words: Mapping[str, ConceptWords]) -> None:
        self.words = words
        self._by_official_name = {slugify(entry.label): concept for concept, entry in words.items()}
        self._families = {name_family(entry.label) for entry in words.values()}
        self._by_name: dict[str, str] = {}
        for concept, entry in words.items():
            self._add(entry.label, concept)
        for name, concept in emoji_aliases().items():
            self._add(name, concept)
        for concept in words:
            if "-" not in concept:
                formal = unicodedata.name(from_codepoints(concept), "")
                self._add(formal, concept)
                self._by_official_name.setdefault(slugify(formal), concept)

    def _add(self, name: str, concept: str) -> None:
        key = slugify(name)
        if key and concept in self.words:
            self._by_name.setdefault(key, concept)
            self._by_name.setdefault(key.replace("-", ""), concept)  # one set runs words together

    def add_set_names(self, chars: Mapping[str, str], aliases: Mapping[str, str]) -> None:
        """Learn a set's own names: `chars` maps code points to icons, `aliases` names to icons."""
        for points, name in chars.items():
            self._add(name, to_codepoints(from_codepoints(points)))
        for alias, name in aliases.items():
            if (concept := self.find_by_name(name)) is not None:
                self._add(alias, concept)

    def is_held_out(self, name: str) -> bool:
        """True if a concept of this name, emoji or icon, belongs to the unseen ones."""
        share = (
            EMOJI_HELD_OUT_PER_MILLE
            if name_family(name) in self._families
            else ICONS_HELD_OUT_PER_MILLE
        )
        return hash_bucket(name) < share

    def find_by_official_name(self, name: str) -> str | None:
        """The concept whose English name in CLDR or Unicode this is, or None."""
        return self._by_official_name.get(slugify(name))

    def find_by_name(self, name: str) -> str | None:
        """The concept of this very name in CLDR, Unicode or an emoji set, or None."""
        return self._by_name.get(slugify(name))

    def find_by_similar_name(self, name: str) -> str | None:
        """Also without a trailing number ("cake-2") and with or without "face"."""
        plain = re.sub(r"-\d$", "", slugify(name))
        tries = (name, plain, plain + "-face", plain.removesuffix("-face"))
        return next(
            (found for text in tries if (found := self.find_by_name(text)) is not None), None
        )


def read_emoji_table(cldr: Path, derived: Path, known: Container[str]) -> EmojiTable:
    """The names and keywords in `LANGUAGES` of the emoji in `known`, from CLDR.

    CLDR also names plain characters ("{" is a "left curly bracket"): `known` leaves them out.
    """
    names: dict[str, dict[str, str]] = {}
    keywords: dict[str, dict[str, tuple[str, ...]]] = {}
    for language, text, entry in _read_annotations((derived, cldr)):
        concept = to_codepoints(text)
        if "tts" in entry:
            names.setdefault(concept, {})[language] = entry["tts"][0]
        keywords.setdefault(concept, {})[language] = tuple(entry.get("default", ()))
    return EmojiTable(
        {
            concept: ConceptWords(
                _sort_languages(found), _sort_languages(keywords.get(concept, {}))
            )
            for concept, found in sorted(names.items())
            if "en" in found and concept in known
        }
    )


def _read_annotations(
    archives: Iterable[Path],
) -> Iterable[tuple[str, str, Mapping[str, list[str]]]]:
    """(language, emoji, {"tts": [name], "default": [keyword, ...]}) of both CLDR packages."""
    for archive in archives:
        for name, data in read_members(archive, "annotations", "annotations.json"):
            language = name.split("/")[1]
            if language in LANGUAGES:
                (content,) = json.loads(data).values()
                for text, entry in content["annotations"].items():
                    yield language, text, entry


def _sort_languages(by_language: Mapping[str, T]) -> dict[str, T]:
    return {language: by_language[language] for language in LANGUAGES if language in by_language}
