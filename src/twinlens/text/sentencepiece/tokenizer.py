"""`SentencePieceTokenizer`: encodes texts to rows of ids with a SentencePiece vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import normalizers

from twinlens.config import TextCleaning
from twinlens.errors import CheckpointError, DataError, require
from twinlens.text.base_tokenizer import BaseTokenizer
from twinlens.text.cleaning import clean_text, text_too_long_error
from twinlens.text.sentencepiece.engines import (
    EXTENSION_KEY,
    SentencePieceBackend,
    TokenizerBackend,
    TokenizersBackend,
    backend_from_json,
    translate_tokenizers_errors,
)
from twinlens.text.sentencepiece.model_file import read_sentencepiece_model
from twinlens.text.sentencepiece.settings import HFTokenizerConfig, read_tokenizer_config
from twinlens.types import TruncatedTokens

TOKENIZER_FILE = "tokenizer.json"
SENTENCEPIECE_FILES = ("spiece.model", "sentencepiece.model", "tokenizer.model")

_SIGLIP_CLASS = "SiglipTokenizer"
_GEMMA_CLASSES = ("GemmaTokenizer", "Siglip2Tokenizer")
_MODEL_FILE_CLASSES = (None, _SIGLIP_CLASS, "T5Tokenizer", "GemmaTokenizer")
# These ignore the configuration's start and end tokens.
_FIXED_TEMPLATE_CLASSES = (_SIGLIP_CLASS, "T5Tokenizer", "XLMRobertaTokenizer")

# Embeddings may be padded to a round number of rows, and T5's vocabularies have 100 ids more than
# SigLIP has rows.
_MAX_SIZE_MISMATCH = 256


@dataclass(frozen=True, slots=True)
class SpecialTokenLayout:
    """Special tokens around a text's ids, and padding."""

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    pad_id: int | None
    pads_left: bool | None


class SentencePieceTokenizer(BaseTokenizer):
    """Encodes texts to rows of token ids and decodes them: made by `from_directory`.

    Attributes:
        vocab_size: Number of ids, special tokens included.
        text_cleaning: Cleaning of texts before the vocabulary: see `clean_text`.
        end_id: The id after every text; None if there is none.
        pad_id: The id that fills a row.
    """

    _default_context_length = 64

    def __init__(
        self,
        backend: TokenizerBackend,
        layout: SpecialTokenLayout,
        text_cleaning: TextCleaning,
        vocab_size: int | None = None,
    ) -> None:
        assert layout.pad_id is not None
        self._backend = backend
        self._layout = layout
        self.text_cleaning: TextCleaning = text_cleaning
        self.vocab_size = vocab_size or backend.vocab_size
        self.end_id = layout.suffix_ids[0] if layout.suffix_ids else None
        self.pad_id = layout.pad_id
        own = isinstance(backend, SentencePieceBackend)
        self._siglip_backend = backend if own and text_cleaning == "siglip" else None

    @classmethod
    def from_directory(
        cls,
        directory: str | Path,
        text_cleaning: TextCleaning,
        *,
        vocab_size: int | None = None,
    ) -> SentencePieceTokenizer:
        """Read the vocabulary of a checkpoint's directory.

        It is read from `tokenizer.json`, or from a SentencePiece model file if there is no
        `tokenizer.json` or `text_cleaning` is "siglip": Hugging Face's `SiglipTokenizer` reads
        that. Special tokens are those of `tokenizer_config.json` and `special_tokens_map.json`,
        else of `tokenizer.json` itself. A model file alone is read as SigLIP's own code does: an
        end token after each text, none before, and rows padded with end tokens (T5's vocabularies,
        which are unigram models) or with the padding token (Gemma's, which is BPE).

        Args:
            directory: Directory of the files.
            text_cleaning: Cleaning of texts before the vocabulary: see `clean_text`.
            vocab_size: Rows of the model's embedding, if there may be fewer than ids: texts that
                need other ids are refused.

        Raises:
            CheckpointError: The files are missing, damaged, or contradict each other; or they
                name no padding token; or the vocabulary's size is far from `vocab_size`.
        """
        directory = Path(directory)
        config = read_tokenizer_config(directory)
        backend, layout = _open_vocabulary(directory, text_cleaning, config)
        layout = _resolve_layout(backend, layout, config, directory)
        _check_vocab_size(backend, layout, vocab_size or backend.vocab_size, directory)
        return cls(backend, layout, text_cleaning, vocab_size)

    def to_json(self) -> str:
        """The content of a `tokenizer.json` that needs no other file."""
        whole = self._backend.to_json()
        whole["padding"] = {
            "strategy": "BatchLongest",
            "direction": "Left" if self._layout.pads_left else "Right",
            "pad_to_multiple_of": None,
            "pad_id": self.pad_id,
            "pad_type_id": 0,
            "pad_token": self._backend.id_to_token(self.pad_id),
        }
        whole["post_processor"] = self._post_processor_json()
        if EXTENSION_KEY in whole["model"]:
            whole["model"][EXTENSION_KEY] |= {
                "before": self._layout.prefix_ids,
                "after": self._layout.suffix_ids,
            }
        return json.dumps(whole, ensure_ascii=False)

    def encode(self, text: str) -> list[int]:
        """Encode a text of any length to ids, without start and end.

        Special tokens that a text spells are among the ids, if the vocabulary allows that.

        Raises:
            DataError: It is not a string, or needs an id that the model has no row for.
        """
        if self._siglip_backend is not None:
            ids = self._siglip_backend.encode_as_siglip(text)
        else:
            ids = self._backend.encode(clean_text(text, self.text_cleaning))
        if max(ids, default=0) >= self.vocab_size:
            raise DataError(
                f"text {text[:60]!r}: got token id {max(ids)}, expected below {self.vocab_size}"
            )
        return ids

    def _decode_ids(self, ids: Sequence[int]) -> str:
        return self._backend.decode(ids)

    @property
    def _num_decodable_ids(self) -> int:
        return self._backend.vocab_size

    def _encode_rows(
        self, texts: Sequence[str], context_length: int, truncate: bool
    ) -> TruncatedTokens:
        num_special = len(self._layout.prefix_ids) + len(self._layout.suffix_ids)
        expected = f"at least {num_special}"
        require(context_length >= num_special, "context_length", context_length, expected)
        table = np.full((len(texts), context_length), self.pad_id, np.int64)
        num_truncated = 0
        for row, text in zip(table, texts, strict=True):
            all_ids = self.encode(text)
            text_ids = all_ids[: context_length - num_special] if truncate else all_ids
            num_truncated += len(text_ids) < len(all_ids)
            ids = self._add_special_tokens(text_ids)
            if len(ids) > context_length:
                raise text_too_long_error(text, len(ids), context_length)
            start = context_length - len(ids) if self._layout.pads_left else 0
            row[start : start + len(ids)] = ids
        return table, num_truncated

    def _add_special_tokens(self, ids: Sequence[int]) -> list[int]:
        # If a text spells an end token at its end, `SiglipTokenizer` does not add another.
        ended = self._siglip_backend is not None and bool(ids) and ids[-1] == self.end_id
        return [*self._layout.prefix_ids, *ids, *(() if ended else self._layout.suffix_ids)]

    def _post_processor_json(self) -> dict[str, Any]:
        before, after = self._layout.prefix_ids, self._layout.suffix_ids
        names = {id_: self._backend.id_to_token(id_) for id_ in (*before, *after)}

        def tokens(ids: Sequence[int], text: int) -> list[dict[str, Any]]:
            return [{"SpecialToken": {"id": names[id_], "type_id": text}} for id_ in ids]

        def text(n: int) -> list[dict[str, Any]]:
            return [*tokens(before, n), {"Sequence": {"id": "AB"[n], "type_id": n}}]

        return {
            "type": "TemplateProcessing",
            "single": [*text(0), *tokens(after, 0)],
            "pair": [*text(0), *tokens(after, 0), *text(1), *tokens(after, 1)],
            "special_tokens": {
                name: {"id": name, "ids": [id_], "tokens": [name]} for id_, name in names.items()
            },
        }


def _find_model_file(directory: Path) -> Path | None:
    return next(filter(Path.is_file, map(directory.joinpath, SENTENCEPIECE_FILES)), None)


def _open_vocabulary(
    directory: Path, cleaning: TextCleaning, config: HFTokenizerConfig
) -> tuple[TokenizerBackend, SpecialTokenLayout]:
    whole, model_file = directory / TOKENIZER_FILE, _find_model_file(directory)
    if model_file is not None and (cleaning == "siglip" or not whole.is_file()):
        return _open_model_file(model_file, config)
    if whole.is_file():
        return _open_tokenizer_json(whole, config)
    raise CheckpointError(
        f"{directory}: got no {TOKENIZER_FILE} and no {' or '.join(SENTENCEPIECE_FILES)}, "
        "expected one of them"
    )


def _open_model_file(
    path: Path, config: HFTokenizerConfig
) -> tuple[TokenizerBackend, SpecialTokenLayout]:
    if config.tokenizer_class not in _MODEL_FILE_CLASSES:
        raise CheckpointError(
            f"{path}: got tokenizer_class {config.tokenizer_class}, whose ids are not those of the "
            f"file, expected a {TOKENIZER_FILE} beside it"
        )
    model = read_sentencepiece_model(path)
    try:
        special = _siglip_special_tokens(config) if config.tokenizer_class == _SIGLIP_CLASS else ()
        backend = SentencePieceBackend(model, special)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if config.tokenizer_class in _GEMMA_CLASSES and None in (
        config.add_bos_token,
        config.add_eos_token,
    ):
        raise CheckpointError(
            f"{path}: got no add_bos_token and add_eos_token, "
            "expected tokenizer_config.json to say which tokens go around a text"
        )
    end = config.special_tokens.get("eos_token")
    end_id = model.eos_id if end is None else backend.token_to_id(end)
    if end_id is None:
        raise CheckpointError(f"{path}: got no end token, expected one in the vocabulary")
    pad_id = end_id if model.model_type == "Unigram" else model.pad_id
    # A tokenizer class has its own padding token, which its configuration names.
    return backend, SpecialTokenLayout(
        (), (end_id,), pad_id if config.tokenizer_class is None else None, None
    )


def _siglip_special_tokens(config: HFTokenizerConfig) -> set[str]:
    """List the tokens that `SiglipTokenizer` finds in texts: its own and its configuration's.

    Flags for stripping spaces around them are ignored; cleaning removes those in any case.
    """
    if plain := [name for name, special in config.added_tokens.items() if not special]:
        raise ValueError(f"got {plain} added as plain tokens, expected special ones only")
    own = {"eos_token": "</s>", "unk_token": "<unk>"}
    return {*(own | dict(config.special_tokens)).values(), *config.added_tokens}


def _open_tokenizer_json(
    path: Path, config: HFTokenizerConfig
) -> tuple[TokenizerBackend, SpecialTokenLayout]:
    try:
        text = path.read_text(encoding="utf-8")
        # Parsing a large vocabulary twice takes a second; most files need only the library.
        whole = json.loads(text) if f'"{EXTENSION_KEY}"' in text else {}
        if EXTENSION_KEY in whole.get("model", {}):
            mark = whole["model"][EXTENSION_KEY]
            before, after = tuple(map(int, mark["before"])), tuple(map(int, mark["after"]))
            return backend_from_json(whole), _with_padding(
                SpecialTokenLayout(before, after, None, None), whole["padding"]
            )
    except Exception as error:  # any value may have an unexpected type
        raise CheckpointError(f"{path}: got {error!r}, expected a {TOKENIZER_FILE}") from error
    with translate_tokenizers_errors(path):
        library = tokenizers.Tokenizer.from_str(text)
        if config.tokenizer_class == "Siglip2Tokenizer":  # this class lower-cases with any file
            steps = [normalizers.Lowercase(), *filter(None, [library.normalizer])]
            library.normalizer = normalizers.Sequence(steps)
        padding = library.padding
        backend = TokenizersBackend(library)
        probe = library.encode("a")
    body = [n for n, special in enumerate(probe.special_tokens_mask) if not special]
    if not body:
        raise CheckpointError(f"{path}: got no token for 'a', expected a vocabulary of texts")
    before, after = probe.ids[: body[0]], probe.ids[body[-1] + 1 :]
    return backend, _with_padding(
        SpecialTokenLayout(tuple(before), tuple(after), None, None), padding
    )


def _with_padding(
    layout: SpecialTokenLayout, padding: Mapping[str, Any] | None
) -> SpecialTokenLayout:
    """Add the padding of a `tokenizer.json` to a layout."""
    if padding is None:
        return layout
    left = str(padding["direction"]).lower() == "left"
    return replace(layout, pad_id=int(padding["pad_id"]), pads_left=left)


def _resolve_layout(
    backend: TokenizerBackend,
    layout: SpecialTokenLayout,
    config: HFTokenizerConfig,
    directory: Path,
) -> SpecialTokenLayout:
    """Complete a layout from the tokenizer's configuration."""

    def id_of(role: str) -> int:
        name = config.special_tokens.get(role)
        id_ = None if name is None else backend.token_to_id(name)
        if id_ is None:
            raise CheckpointError(
                f"{directory}: got {role} {name!r}, expected one of the vocabulary"
            )
        return id_

    if config.add_bos_token is not None and config.tokenizer_class not in _FIXED_TEMPLATE_CLASSES:
        layout = replace(layout, prefix_ids=(id_of("bos_token"),) if config.add_bos_token else ())
    if config.add_eos_token is not None and config.tokenizer_class not in _FIXED_TEMPLATE_CLASSES:
        layout = replace(layout, suffix_ids=(id_of("eos_token"),) if config.add_eos_token else ())
    if "pad_token" in config.special_tokens:
        layout = replace(layout, pad_id=id_of("pad_token"))
    if layout.pad_id is None:
        raise CheckpointError(
            f"{directory}: got no padding token, expected its name in tokenizer_config.json"
        )
    if config.pads_left is not None:
        layout = replace(layout, pads_left=config.pads_left)
    if layout.pads_left is None and config.tokenizer_class in _GEMMA_CLASSES:
        raise CheckpointError(
            f"{directory}: got no padding_side for {config.tokenizer_class}, expected left or right"
        )
    return layout


def _check_vocab_size(
    backend: TokenizerBackend, layout: SpecialTokenLayout, vocab_size: int, directory: Path
) -> None:
    if abs(backend.vocab_size - vocab_size) > _MAX_SIZE_MISMATCH:
        raise CheckpointError(
            f"{directory}: got a vocabulary of {backend.vocab_size}, "
            f"expected vocab_size={vocab_size}"
        )
    size = min(vocab_size, backend.vocab_size)
    for id_ in (*layout.prefix_ids, *layout.suffix_ids, layout.pad_id):
        if id_ is not None and not 0 <= id_ < size:
            raise CheckpointError(
                f"{directory}: got {id_} for a special token, expected an id below {size}"
            )
