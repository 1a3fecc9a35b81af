"""SentencePiece's normalisation, to the letter.

The `tokenizers` library has one that reads the same rules, but applies them to what Unicode calls
a grapheme, not to the longest sequence that has a rule: some letters with marks come out otherwise.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Collection, Iterator

from twinlens.text.sentencepiece.model_file import SPACE_SYMBOL

_UINT32_LE = struct.Struct("<I")
_SPACE_RUN = re.compile(" +")
_LABEL_MASK = 0x8000_00FF  # of a unit of the trie: the top bit marks values, which have none
_VALUE_MASK = 0x7FFF_FFFF


class SentencePieceNormalizer:
    """The rules of a model file."""

    def __init__(
        self,
        precompiled_charsmap: bytes,
        *,
        add_dummy_prefix: bool,
        remove_extra_whitespaces: bool,
        protected: Collection[str] = (),
    ) -> None:
        """Take the rules.

        Args:
            precompiled_charsmap: A double-array trie of sequences, and the text that replaces each.
            add_dummy_prefix: See `SentencePieceModel`.
            remove_extra_whitespaces: See `SentencePieceModel`.
            protected: Sequences that no rule changes: pieces that a user defined.

        Raises:
            ValueError: The rules are damaged.
        """
        self._add_dummy_prefix = add_dummy_prefix
        self._remove_extra_whitespaces = remove_extra_whitespaces
        self._protected_pattern = longest_match_pattern(protected)
        self._trie, self._replacements = _parse_charsmap(precompiled_charsmap)

    def __call__(self, text: str) -> str:
        """The text with its rules applied and its spaces written as `SPACE_SYMBOL`."""
        if not text:
            return ""
        if self._trie:
            parts = (
                [text] if self._protected_pattern is None else self._protected_pattern.split(text)
            )
            text = "".join(
                part if n % 2 else self._apply_rules(part) for n, part in enumerate(parts)
            )
        if self._remove_extra_whitespaces:
            text = _SPACE_RUN.sub(" ", text).strip(" ")
        text = SPACE_SYMBOL * self._add_dummy_prefix + text.replace(" ", SPACE_SYMBOL)
        return text.rstrip(SPACE_SYMBOL) if self._remove_extra_whitespaces else text

    def _apply_rules(self, text: str) -> str:
        data = text.encode()
        return b"".join(self._iter_replacements(data)).decode(errors="replace")

    def _iter_replacements(self, data: bytes) -> Iterator[bytes]:
        place = 0
        while place < len(data):
            end, target = self._longest_match(data, place)
            if end == place:  # none begins here
                end = place + _utf8_length(data[place])
                target = data[place:end]
            yield target
            place = end

    def _longest_match(self, data: bytes, start: int) -> tuple[int, bytes]:
        """Where the longest sequence with a rule ends, and what replaces it."""
        units, found, value = self._trie, start, 0
        node = _trie_offset(units[0])
        for place in range(start, len(data)):
            node ^= data[place]
            if node >= len(units) or units[node] & _LABEL_MASK != data[place]:
                break
            unit = units[node]
            node ^= _trie_offset(unit)
            if unit >> 8 & 1 and node < len(units):  # a sequence ends here, and its value follows
                found, value = place + 1, units[node] & _VALUE_MASK
        return found, self._replacements[value : self._replacements.find(b"\0", value)]


def longest_match_pattern(texts: Collection[str]) -> re.Pattern[str] | None:
    """A pattern with one group that finds these texts, the longest where several begin."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, ordered))})") if ordered else None


def _trie_offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


def _utf8_length(first: int) -> int:
    """Bytes of a UTF-8 character, by its first one."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _parse_charsmap(charsmap: bytes) -> tuple[array[int], bytes]:
    """The units of the trie, and the replacements one after the other, each ending in a zero."""
    if not charsmap:
        return array("I"), b""
    size = int.from_bytes(charsmap[:4], "little")
    trie, targets = charsmap[4 : 4 + size], charsmap[4 + size :]
    if not trie or len(trie) != size or size % 4 or not targets.endswith(b"\0"):
        raise ValueError("got damaged rules of normalisation, expected whole ones")
    return array("I", (unit for (unit,) in _UINT32_LE.iter_unpack(trie))), targets
