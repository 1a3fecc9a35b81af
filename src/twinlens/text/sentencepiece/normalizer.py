"""SentencePiece's normalisation, exactly.

The `tokenizers` library has one that reads the same rules, but applies them to Unicode graphemes,
not to the longest sequence that has a rule: some letters with marks are normalised differently.
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
    """The normalisation rules of a model file."""

    def __init__(
        self,
        precompiled_charsmap: bytes,
        *,
        add_dummy_prefix: bool,
        remove_extra_whitespaces: bool,
        protected: Collection[str] = (),
    ) -> None:
        """Parse the rules.

        Args:
            precompiled_charsmap: A double-array trie of sequences, and the replacement of each.
            add_dummy_prefix: See `SentencePieceModel`.
            remove_extra_whitespaces: See `SentencePieceModel`.
            protected: Sequences that no rule changes: user-defined pieces.

        Raises:
            ValueError: The rules are damaged.
        """
        self._add_dummy_prefix = add_dummy_prefix
        self._remove_extra_whitespaces = remove_extra_whitespaces
        self._protected_pattern = longest_match_pattern(protected)
        self._trie, self._replacements = _parse_charsmap(precompiled_charsmap)

    def __call__(self, text: str) -> str:
        """Apply the rules to a text and write its spaces as `SPACE_SYMBOL`."""
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
        offset = 0
        while offset < len(data):
            end, replacement = self._longest_match(data, offset)
            if end == offset:  # no rule matches here
                end = offset + _utf8_length(data[offset])
                replacement = data[offset:end]
            yield replacement
            offset = end

    def _longest_match(self, data: bytes, start: int) -> tuple[int, bytes]:
        """Find the end of the longest sequence with a rule, and its replacement."""
        units, end, value = self._trie, start, 0
        node = _trie_offset(units[0])
        for offset in range(start, len(data)):
            node ^= data[offset]
            if node >= len(units) or units[node] & _LABEL_MASK != data[offset]:
                break
            unit = units[node]
            node ^= _trie_offset(unit)
            if unit >> 8 & 1 and node < len(units):  # a sequence ends here, and its value follows
                end, value = offset + 1, units[node] & _VALUE_MASK
        return end, self._replacements[value : self._replacements.find(b"\0", value)]


def longest_match_pattern(texts: Collection[str]) -> re.Pattern[str] | None:
    """Compile a pattern with one group that matches the longest of these texts; None for none."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, ordered))})") if ordered else None


def _trie_offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


def _utf8_length(first: int) -> int:
    """Return the number of bytes of a UTF-8 character, by its first byte."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _parse_charsmap(charsmap: bytes) -> tuple[array[int], bytes]:
    """Split the rules into the units of the trie and the zero-terminated replacements."""
    if not charsmap:
        return array("I"), b""
    size = int.from_bytes(charsmap[:4], "little")
    trie, replacements = charsmap[4 : 4 + size], charsmap[4 + size :]
    if not trie or len(trie) != size or size % 4 or not replacements.endswith(b"\0"):
        raise ValueError("got damaged rules of normalisation, expected whole ones")
    return array("I", (unit for (unit,) in _UINT32_LE.iter_unpack(trie))), replacements
