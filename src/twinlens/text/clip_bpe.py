"""CLIP's byte-level BPE tokenizer, with CLIP's own vocabulary or one trained here.

A text is cleaned (mojibake, HTML entities, white space, case), split into words at white space,
each word into pieces by a pattern, and the UTF-8 bytes of each piece are merged by a BPE
vocabulary in which the last symbol of a piece ends in `</w>`. The last two ids of a vocabulary are
the start and the end token, so the text tower finds the end of a text at its largest id (paper
section 2.4).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import regex
import tokenizers
from jaxtyping import Int64
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from twinlens.errors import CheckpointError, DataError, require
from twinlens.text.base_tokenizer import BaseTokenizer
from twinlens.text.cleaning import clean_text, fix_text, require_str, text_too_long_error
from twinlens.types import TruncatedTokens

START_TOKEN, END_TOKEN = "<start_of_text>", "<end_of_text>"
END_OF_WORD_SUFFIX = "</w>"

# GPT-2's alphabet for bytes: printable bytes map to themselves, the others to the characters
# from U+0100 on. The order is that of the ids.
_PRINTABLE_BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHER_BYTES = sorted(set(range(256)) - set(_PRINTABLE_BYTES))
_BYTE_TO_UNICODE = {byte: chr(byte) for byte in _PRINTABLE_BYTES} | {
    byte: chr(0x100 + n) for n, byte in enumerate(_OTHER_BYTES)
}
_BYTE_SYMBOLS = [
    *_BYTE_TO_UNICODE.values(),
    *(symbol + END_OF_WORD_SUFFIX for symbol in _BYTE_TO_UNICODE.values()),
]

# With CLIP's own pattern a text can spell the special tokens, and a letter is split from its
# combining marks. In a vocabulary trained here no text can contain a special token, and marks (the
# vowels of Hindi and Thai) are not split from their letter.
_CLIP_PATTERN = (
    rf"(?i){START_TOKEN}|{END_TOKEN}|'s|'t|'re|'ve|'m|'ll|'d|"
    r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_UNICODE_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}[\p{L}\p{M}]*|\p{N}|[^\s\p{L}\p{N}]+"

_NUM_CLIP_MERGES = 48_894  # the file has more; CLIP reads as many as give 49,408 ids
_ID_DTYPE = np.dtype("<i4")
_MAX_CACHED_WORDS = 1 << 16
_MAX_CACHED_WORD_LENGTH = 32


class _WordCache(dict[str, bytes]):
    """A cache of the ids of recent words as packed int32, so that a text is one `join`."""

    def __init__(self, bpe: tokenizers.Tokenizer, pattern: str) -> None:
        super().__init__()
        self._model: Any = bpe.model
        self._pattern = regex.compile(pattern)
        size = bpe.get_vocab_size()
        self._special_ids = {START_TOKEN: size - 2, END_TOKEN: size - 1}

    def __missing__(self, word: str) -> bytes:
        ids = np.fromiter(self._encode(word), _ID_DTYPE).tobytes()
        if len(word) <= _MAX_CACHED_WORD_LENGTH:
            if len(self) >= _MAX_CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids

    def _encode(self, word: str) -> Iterator[int]:
        for piece in self._pattern.findall(word):
            if piece in self._special_ids:
                yield self._special_ids[piece]
            else:
                symbols = piece.encode().decode("latin-1").translate(_BYTE_TO_UNICODE)
                yield from (token.id for token in self._model.tokenize(symbols))


class Tokenizer(BaseTokenizer):
    """Encodes texts to rows of token ids and decodes them; a vocabulary of CLIP's kind.

    Made by `clip`, `from_file` or `train_tokenizer`.

    Attributes:
        vocab_size: Number of ids, special tokens included.
        start_id: The id before every text, `vocab_size - 2`.
        end_id: The id after every text, `vocab_size - 1`.
        pad_id: The id that fills a row, 0.

    Example:
        >>> tokenizer = Tokenizer.clip()
        >>> tokenizer.encode("a photo of a cat")
        [320, 1125, 539, 320, 2368]
        >>> tokenizer("a cat", context_length=6)
        array([[49406,   320,  2368, 49407,     0,     0]])
    """

    _default_context_length = 77

    def __init__(self, bpe: tokenizers.Tokenizer, pattern: str) -> None:
        self._bpe = bpe
        self._word_cache = _WordCache(bpe, pattern)
        self.vocab_size = bpe.get_vocab_size()
        self.start_id = self.vocab_size - 2
        self.end_id = self.vocab_size - 1
        self.pad_id = 0

    @classmethod
    def clip(cls) -> Tokenizer:
        """Return CLIP's own vocabulary of 49,408 ids; the same object at every call."""
        return _load_clip_tokenizer()

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """Read a vocabulary from a `tokenizer.json` that `save` wrote.

        Raises:
            CheckpointError: The file is missing, damaged, or another kind of tokenizer.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            pattern = _validate_tokenizer_json(json.loads(text))
            return cls(tokenizers.Tokenizer.from_str(text), pattern)
        except Exception as error:  # the library raises plain `Exception`
            raise CheckpointError(
                f"{path}: got {error!r}, expected a tokenizer.json of CLIP's kind"
            ) from error

    def to_json(self) -> str:
        """The content of a `tokenizer.json`, which the `tokenizers` library reads too."""
        return self._bpe.to_str(pretty=True)

    def encode(self, text: str) -> list[int]:
        """Encode a text of any length to ids, without start and end."""
        return np.frombuffer(self._encode_bytes(text), _ID_DTYPE).tolist()

    def _decode_ids(self, ids: Sequence[int]) -> str:
        return self._bpe.decode(ids)

    def _encode_rows(
        self, texts: Sequence[str], context_length: int, truncate: bool
    ) -> TruncatedTokens:
        require(context_length >= 2, "context_length", context_length, "at least 2")
        size = _ID_DTYPE.itemsize
        start, end = ((self.vocab_size - n).to_bytes(size, "little") for n in (2, 1))
        width, room = context_length * size, (context_length - 2) * size
        rows: list[bytes] = []
        num_truncated = 0
        for text in texts:
            ids = self._encode_bytes(text)
            if len(ids) > room:
                if not truncate:
                    raise text_too_long_error(text, len(ids) // size + 2, context_length)
                ids = ids[:room]
                num_truncated += 1
            rows.append((start + ids + end).ljust(width, b"\0"))
        table = np.frombuffer(b"".join(rows), _ID_DTYPE).reshape(-1, context_length)
        return table.astype(np.int64), num_truncated

    def _encode_bytes(self, text: str) -> bytes:
        return b"".join(
            map(self._word_cache.__getitem__, fix_text(require_str(text)).lower().split())
        )


def tokenize(
    texts: str | Sequence[str], context_length: int = 77, truncate: bool = False
) -> Int64[np.ndarray, "text context_length"]:
    """Encode texts with CLIP's own vocabulary: see `BaseTokenizer.__call__`."""
    return Tokenizer.clip()(texts, context_length, truncate)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a vocabulary of exactly `vocab_size` ids on texts, with the layout of CLIP's.

    The same texts in any order give the same vocabulary. Every byte has its own id, so that any
    text can be encoded.

    Raises:
        ConfigError: `vocab_size` is smaller than the bytes and the two special tokens.
        DataError: The texts give fewer ids; the message says how many.
    """
    minimum = len(_BYTE_SYMBOLS) + 2
    require(vocab_size >= minimum, "vocab_size", vocab_size, f"at least {minimum}")
    if isinstance(texts, str):
        raise DataError("texts: got one string, expected many")
    vocabulary, merges = _learn_merges(texts, vocab_size - 2)
    learned = len(vocabulary) + 2
    expected = f"at most {learned} for these texts"
    require(learned >= vocab_size, "vocab_size", vocab_size, expected, DataError)
    return Tokenizer(_build_byte_level_bpe(vocabulary, merges, _UNICODE_PATTERN), _UNICODE_PATTERN)


def _learn_merges(
    texts: Iterable[str], vocab_size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    split = regex.compile(_UNICODE_PATTERN)
    learner = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD_SUFFIX))
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    steps = [pre_tokenizers.WhitespaceSplit(), bytes_of_words]
    learner.pre_tokenizer = pre_tokenizers.Sequence(steps)
    # The base symbols are passed as "special" tokens because that fixes their ids, and so the
    # order in which equally frequent pairs merge, which otherwise differs from run to run.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=1,
        special_tokens=_BYTE_SYMBOLS,
        end_of_word_suffix=END_OF_WORD_SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator(
        (" ".join(split.findall(clean_text(text, "lower"))) for text in texts), trainer
    )
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


@cache
def _load_clip_tokenizer() -> Tokenizer:
    packed = files("twinlens").joinpath("assets/vocabulary/bpe_simple_vocab_16e6.txt.gz")
    with packed.open("rb") as file, gzip.open(file, "rt", encoding="utf-8") as lines:
        pairs = [line.split() for line in islice(lines, 1, 1 + _NUM_CLIP_MERGES)]
    merges = [(left, right) for left, right in pairs]
    symbols = [*_BYTE_SYMBOLS, *(left + right for left, right in merges)]
    vocabulary = {symbol: id_ for id_, symbol in enumerate(symbols)}
    return Tokenizer(_build_byte_level_bpe(vocabulary, merges, _CLIP_PATTERN), _CLIP_PATTERN)


def _build_byte_level_bpe(
    vocab: dict[str, int], merges: list[tuple[str, str]], pattern: str
) -> tokenizers.Tokenizer:
    """Build the library's tokenizer of a vocabulary, with the special tokens at its end.

    `Tokenizer` uses it only to merge single pieces; the other steps are for the saved file, with
    which the library alone encodes cleaned texts to the same ids.
    """
    start, end = len(vocab), len(vocab) + 1
    symbols = vocab | {START_TOKEN: start, END_TOKEN: end}
    bpe: Any = tokenizers.Tokenizer(
        models.BPE(symbols, merges, end_of_word_suffix=END_OF_WORD_SUFFIX)
    )
    bpe.add_special_tokens([START_TOKEN, END_TOKEN])
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{START_TOKEN} $A {END_TOKEN}",
        special_tokens=[(START_TOKEN, start), (END_TOKEN, end)],
    )
    bpe.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace(END_OF_WORD_SUFFIX, " ")]
    )
    return bpe


def _validate_tokenizer_json(tokenizer_json: dict[str, Any]) -> str:
    """Return the pattern of a parsed `tokenizer.json`; `ValueError` if it is not of CLIP's kind."""
    model = tokenizer_json["model"]
    vocabulary: dict[str, int] = model["vocab"]
    pattern = tokenizer_json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    ids = dict(
        zip(
            [*_BYTE_SYMBOLS, START_TOKEN, END_TOKEN],
            [*range(len(_BYTE_SYMBOLS)), -2, -1],
            strict=True,
        )
    )
    if model["type"] != "BPE" or model["end_of_word_suffix"] != END_OF_WORD_SUFFIX:
        raise ValueError("not a BPE with </w>")
    if pattern not in (_CLIP_PATTERN, _UNICODE_PATTERN):
        raise ValueError(f"unknown pattern {pattern}")
    if any(vocabulary[symbol] != id_ % len(vocabulary) for symbol, id_ in ids.items()):
        raise ValueError("the ids are not bytes, merges, start, end")
    return pattern
