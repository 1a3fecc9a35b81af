"""SentencePiece's normalisation, to the letter.

The `tokenizers` library has one that reads the same rules, but applies them to what Unicode calls
a grapheme, not to the longest sequence that has a rule: some letters with marks come out otherwise.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Collection, Iterator

from twinlens.text.sentencepiece.model_file import SPACE

_UNSIGNED = struct.Struct("<I")
_SPACES = re.compile(" +")
_LABEL = 0x8000_00FF  # of a unit of the trie: the top bit marks values, which have none
_VALUE = 0x7FFF_FFFF


class Normalizer:
    """The rules of a model file."""

    def __init__(
        self,
        charsmap: bytes,
        *,
        dummy_prefix: bool,
        single_spaces: bool,
        kept: Collection[str] = (),
    ) -> None:
        """Take the rules.

        Args:
            charsmap: A double-array trie of sequences, and the text that replaces each.
            dummy_prefix: See `PieceFile`.
            single_spaces: See `PieceFile`.
            kept: Sequences that no rule changes: pieces that a user defined.

        Raises:
            ValueError: The rules are damaged.
        """
        self._dummy_prefix = dummy_prefix
        self._single_spaces = single_spaces
        self._kept = longest_first(kept)
        self._units, self._targets = _split_charsmap(charsmap)

    def __call__(self, text: str) -> str:
        """The text with its rules applied and its spaces written as `SPACE`."""
        if not text:
            return ""
        if self._units:
            parts = [text] if self._kept is None else self._kept.split(text)
            text = "".join(part if n % 2 else self._ruled(part) for n, part in enumerate(parts))
        if self._single_spaces:
            text = _SPACES.sub(" ", text).strip(" ")
        text = SPACE * self._dummy_prefix + text.replace(" ", SPACE)
        return text.rstrip(SPACE) if self._single_spaces else text

    def _ruled(self, text: str) -> str:
        data = text.encode()
        return b"".join(self._replaced(data)).decode(errors="replace")

    def _replaced(self, data: bytes) -> Iterator[bytes]:
        place = 0
        while place < len(data):
            end, target = self._longest_rule(data, place)
            if end == place:  # none begins here
                end = place + _character_size(data[place])
                target = data[place:end]
            yield target
            place = end

    def _longest_rule(self, data: bytes, start: int) -> tuple[int, bytes]:
        """Where the longest sequence with a rule ends, and what replaces it."""
        units, found, value = self._units, start, 0
        node = _offset(units[0])
        for place in range(start, len(data)):
            node ^= data[place]
            if node >= len(units) or units[node] & _LABEL != data[place]:
                break
            unit = units[node]
            node ^= _offset(unit)
            if unit >> 8 & 1 and node < len(units):  # a sequence ends here, and its value follows
                found, value = place + 1, units[node] & _VALUE
        return found, self._targets[value : self._targets.find(b"\0", value)]


def longest_first(texts: Collection[str]) -> re.Pattern[str] | None:
    """A pattern with one group that finds these texts, the longest where several begin."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, ordered))})") if ordered else None


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


def _character_size(first: int) -> int:
    """Bytes of a UTF-8 character, by its first one."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _split_charsmap(charsmap: bytes) -> tuple[array[int], bytes]:
    """The units of the trie, and the replacements one after the other, each ending in a zero."""
    if not charsmap:
        return array("I"), b""
    size = int.from_bytes(charsmap[:4], "little")
    trie, targets = charsmap[4 : 4 + size], charsmap[4 + size :]
    if not trie or len(trie) != size or size % 4 or not targets.endswith(b"\0"):
        raise ValueError("got damaged rules of normalisation, expected whole ones")
    return array("I", (unit for (unit,) in _UNSIGNED.iter_unpack(trie))), targets
