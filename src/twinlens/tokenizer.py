"""Texts to tokens: CLIP's byte-level BPE, with its own vocabulary or one trained here.

A text is cleaned (ftfy, HTML entities, white space, lower case), cut into words at white space,
each word into pieces by a pattern, and each piece's UTF-8 bytes are merged by a BPE vocabulary in
which a piece's last symbol ends in `</w>`. The vocabulary's last two ids are the start and the
end token, so the text tower finds the end of a text as its largest id (paper section 2.4).
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ftfy
import numpy as np
import regex
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from twinlens.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Tensor

START, END = "<start_of_text>", "<end_of_text>"
SUFFIX = "</w>"

# Printable bytes stand for themselves, the others for characters from U+0100 on (GPT-2's
# alphabet). The order is that of the ids.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in set(_PRINTABLE)]
_BYTES = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(0x100 + n) for n, byte in enumerate(_OTHERS)
}
_BYTE_OF = {char: byte for byte, char in _BYTES.items()}
_BASE = [*_BYTES.values(), *(char + SUFFIX for char in _BYTES.values())]

# CLIP's own pattern lets the special tokens be spelt in a text, and breaks a word at each
# combining mark; in a vocabulary trained here a text cannot hold special tokens, and marks (the
# vowels of Hindi and Thai) stay with their letters.
_CLIP_PATTERN = (
    rf"(?i){START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
)
_TRAINED_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}\p{M}]+|\p{N}|[^\s\p{L}\p{M}\p{N}]+"

_CLIP_MERGES = 48_894
_ID = np.dtype("<i4")
_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 64


def clean(text: str) -> str:
    r"""The text as the vocabulary reads it: mended, unescaped, lower case, single spaces.

    Example:
        >>> clean("  Caf&eacute;\n AU lait ")
        'café au lait'
    """
    return " ".join(_clean_words(text))


def _clean_words(text: str) -> list[str]:
    # ftfy and HTML can change nothing in printable ASCII without `&`: most texts skip them.
    if not text.isascii() or not text.isprintable() or "&" in text:
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return text.lower().split()


class _WordIds(dict[str, bytes]):
    """The ids of every word met lately, as packed int32, so that a text is one `join`."""

    def __init__(self, bpe: tokenizers.Tokenizer, pattern: str) -> None:
        super().__init__()
        self._model: Any = bpe.model
        self._pieces = regex.compile(pattern).findall
        vocabulary = bpe.get_vocab()
        self._specials = {token: vocabulary[token] for token in (START, END)}

    def __missing__(self, word: str) -> bytes:
        ids = np.fromiter(self._merge(word), _ID).tobytes()
        if len(word) <= _CACHED_LENGTH:
            if len(self) >= _CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids

    def _merge(self, word: str) -> Iterator[int]:
        for piece in self._pieces(word):
            if piece in self._specials:
                yield self._specials[piece]
            else:
                symbols = piece.encode().decode("latin-1").translate(_BYTES)
                yield from (token.id for token in self._model.tokenize(symbols))


class Tokenizer:
    """Texts to rows of token ids and back.

    Attributes:
        vocab_size: Number of ids, special tokens included.
        start_id: The id before every text, `vocab_size - 2`.
        end_id: The id after every text, `vocab_size - 1`.

    Example:
        >>> tokenizer = Tokenizer.clip()
        >>> tokenizer.encode("a photo of a cat")
        [320, 1125, 539, 320, 2368]
        >>> tokenizer("a cat", context_length=6)
        tensor([[49406,   320,  2368, 49407,     0,     0]])
    """

    def __init__(self, bpe: tokenizers.Tokenizer, pattern: str) -> None:
        self._bpe = bpe
        self._symbols = {id_: symbol for symbol, id_ in bpe.get_vocab().items()}
        self._word_ids = _WordIds(bpe, pattern)
        self.vocab_size = bpe.get_vocab_size()
        self.start_id = self.vocab_size - 2
        self.end_id = self.vocab_size - 1

    @classmethod
    def clip(cls) -> Tokenizer:
        """CLIP's own vocabulary of 49,408 ids; the same object at every call."""
        return _clip()

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """A vocabulary of CLIP's kind from a `tokenizer.json`.

        Raises:
            CheckpointError: The file is missing, damaged, or another kind of tokenizer.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            bpe = tokenizers.Tokenizer.from_str(text)
            pattern = _pattern(json.loads(text))
        except Exception as error:  # the library raises plain `Exception`
            raise CheckpointError(f"{path}: got {error}, expected a tokenizer.json") from error
        return cls(bpe, pattern)

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json`, which the `tokenizers` library reads too."""
        self._bpe.save(str(path))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, any number of them, without start and end."""
        return np.frombuffer(self._pack(text), _ID).tolist()

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, up to the first end token; start tokens are dropped."""
        symbols: list[str] = []
        for id_ in map(int, ids):
            if id_ == self.end_id:
                break
            if id_ != self.start_id:
                symbols.append(self._symbols[id_])
        spaced = "".join(symbols).replace(SUFFIX, " ")
        return bytes(_BYTE_OF.get(c, 0x20) for c in spaced).decode(errors="replace").strip()

    def __call__(
        self, texts: str | Sequence[str], context_length: int = 77, truncate: bool = False
    ) -> Int64[Tensor, "text context_length"]:
        """Rows of ids, int64 [n, context_length]: start, the text, end, zeros.

        Raises:
            DataError: A text is too long and `truncate` is not set, or is not a string.
            ConfigError: `context_length` leaves no room for start and end.
        """
        if context_length < 2:
            raise ConfigError(f"context_length: got {context_length}, expected at least 2")
        start, end = (np.array([i], _ID).tobytes() for i in (self.start_id, self.end_id))
        room = (context_length - 2) * _ID.itemsize
        rows: list[bytes] = []
        for text in [texts] if isinstance(texts, str) else texts:
            ids = self._pack(text)
            if len(ids) > room:
                if not truncate:
                    raise _too_long(text, len(ids) // _ID.itemsize + 2, context_length)
                ids = ids[:room]
            rows.append(b"".join((start, ids, end)).ljust(room + 2 * _ID.itemsize, b"\0"))
        table = np.frombuffer(b"".join(rows), _ID).reshape(-1, context_length)
        return torch.as_tensor(table.astype(np.int64))

    def _pack(self, text: str) -> bytes:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DataError(f"text: got {type(text).__name__} {text!r}, expected a string")
        return b"".join(map(self._word_ids.__getitem__, _clean_words(text)))


def tokenize(
    texts: str | Sequence[str], context_length: int = 77, truncate: bool = False
) -> Int64[Tensor, "text context_length"]:
    """Rows of ids in CLIP's own vocabulary: see `Tokenizer.__call__`."""
    return Tokenizer.clip()(texts, context_length, truncate)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A vocabulary of exactly `vocab_size` ids for these texts, laid out as CLIP's is.

    The same texts give the same vocabulary. Every byte has its own id, so no text is ever
    unknown.

    Raises:
        ConfigError: `vocab_size` does not even hold the bytes and the two special tokens.
        DataError: The texts are too few to fill it.
    """
    smallest = len(_BASE) + 2
    if vocab_size < smallest:
        raise ConfigError(f"vocab_size: got {vocab_size}, expected at least {smallest}")
    pieces = regex.compile(_TRAINED_PATTERN).findall
    learner = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    # Passing the base symbols as "special" fixes their ids, and with them how ties are broken.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        min_frequency=1,
        special_tokens=_BASE,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator((" ".join(pieces(clean(text))) for text in texts), trainer)
    learned = json.loads(learner.to_str())["model"]
    if len(learned["vocab"]) + 2 < vocab_size:
        raise DataError(
            f"vocab_size: got {vocab_size}, but these texts fill only {len(learned['vocab']) + 2}"
        )
    merges = [(left, right) for left, right in learned["merges"]]
    return Tokenizer(_byte_level_bpe(learned["vocab"], merges, _TRAINED_PATTERN), _TRAINED_PATTERN)


@cache
def _clip() -> Tokenizer:
    packed = files("twinlens").joinpath("assets/vocabulary/bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(packed.read_bytes()).decode().split("\n")
    merges = [(left, right) for left, right in map(str.split, lines[1 : 1 + _CLIP_MERGES])]
    symbols = [*_BASE, *(left + right for left, right in merges)]
    vocabulary = {symbol: id_ for id_, symbol in enumerate(symbols)}
    return Tokenizer(_byte_level_bpe(vocabulary, merges, _CLIP_PATTERN), _CLIP_PATTERN)


def _byte_level_bpe(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], pattern: str
) -> tokenizers.Tokenizer:
    """The library's tokenizer with the two special tokens added behind the vocabulary."""
    start, end = len(vocabulary), len(vocabulary) + 1
    vocabulary = {**vocabulary, START: start, END: end}
    bpe: Any = tokenizers.Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=SUFFIX))
    bpe.add_special_tokens([START, END])
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, start), (END, end)]
    )
    bpe.decoder = decoders.ByteLevel()
    return bpe


def _pattern(file: dict[str, Any]) -> str:
    """The pattern that cuts words into pieces, from a parsed `tokenizer.json`."""
    first, _ = file["pre_tokenizer"]["pretokenizers"]
    return first["pattern"]["Regex"]


def _too_long(text: str, got: int, limit: int) -> DataError:
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return DataError(
        f"text {short!r}: got {got} tokens with start and end, expected at most {limit} "
        "(truncate=True cuts it)"
    )
