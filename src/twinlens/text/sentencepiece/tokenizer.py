"""`PieceTokenizer`: texts to rows of ids with a vocabulary of SentencePiece's kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from jaxtyping import Int64
from tokenizers import normalizers
from torch import Tensor

from twinlens.config import TextCleaning
from twinlens.errors import CheckpointError, ConfigError, DataError
from twinlens.files import write_whole
from twinlens.text.cleaning import cleaned, too_long
from twinlens.text.sentencepiece.engines import (
    MARK,
    Engine,
    LibraryEngine,
    SentencePieceEngine,
    from_json,
    library_errors,
)
from twinlens.text.sentencepiece.model_file import read_piece_file
from twinlens.text.sentencepiece.settings import TokenizerSettings, read_settings
from twinlens.types import Fitted

TOKENIZER_FILE = "tokenizer.json"
MODEL_FILES = ("spiece.model", "sentencepiece.model", "tokenizer.model")

_SIGLIP = "SiglipTokenizer"
_GEMMA = ("GemmaTokenizer", "Siglip2Tokenizer")
_FROM_MODEL_FILE = (None, _SIGLIP, "T5Tokenizer", "GemmaTokenizer")
_OWN_FRAME = (_SIGLIP, "T5Tokenizer", "XLMRobertaTokenizer")  # whatever the settings say

# Embeddings may have a round number of rows, and T5's vocabularies have 100 ids more than SigLIP
# has rows.
_SPARE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Frame:
    """What goes around a text's ids."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    pad_id: int | None
    pads_left: bool | None


class PieceTokenizer:
    """Texts to rows of token ids and back: made by `from_directory`.

    Attributes:
        vocab_size: Number of ids, special tokens included.
        cleaning: What texts go through before the vocabulary.
        end_id: The id after every text; None if there is none.
        pad_id: The id that fills a row.
    """

    def __init__(
        self, engine: Engine, frame: Frame, cleaning: TextCleaning, vocab_size: int | None = None
    ) -> None:
        assert frame.pad_id is not None
        self._engine = engine
        self._frame = frame
        self.cleaning: TextCleaning = cleaning
        self.vocab_size = vocab_size or engine.size
        self.end_id = frame.after[0] if frame.after else None
        self.pad_id = frame.pad_id
        own = isinstance(engine, SentencePieceEngine)
        self._as_siglip = engine if own and cleaning == "siglip" else None

    @classmethod
    def from_directory(
        cls,
        directory: str | Path,
        cleaning: TextCleaning,
        *,
        vocab_size: int | None = None,
    ) -> PieceTokenizer:
        """The vocabulary of a checkpoint's directory.

        It is read from `tokenizer.json`, or from a SentencePiece model file where there is no
        other or `cleaning` is "siglip": Hugging Face's `SiglipTokenizer` reads that. Special
        tokens are those of `tokenizer_config.json` and `special_tokens_map.json`, else of
        `tokenizer.json` itself. A model file alone is taken as SigLIP's own code takes it: an end
        token after each text, none before, and rows filled up with end tokens (T5's vocabularies,
        which are unigram models) or with the padding token (Gemma's, which is BPE).

        Args:
            directory: Where the files are.
            cleaning: What texts go through before: see `texts.cleaned`.
            vocab_size: The model's rows, if that may not be all ids: texts that need others are
                refused.

        Raises:
            CheckpointError: The files are missing, damaged, or contradict each other; or they do
                not say what fills a row; or the vocabulary is far from `vocab_size`.
        """
        directory = Path(directory)
        settings = read_settings(directory)
        engine, frame = _open(directory, cleaning, settings)
        frame = _settled(engine, frame, settings, directory)
        _check_sizes(engine, frame, vocab_size or engine.size, directory)
        return cls(engine, frame, cleaning, vocab_size)

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json` that needs no other file, all or nothing.

        The `tokenizers` library reads it too, to the same ids but for odd texts.

        Raises:
            CheckpointError: The file cannot be written.
        """
        whole = self._engine.to_json()
        whole["padding"] = self._padding_to_json()
        whole["post_processor"] = self._frame_to_json()
        if MARK in whole["model"]:
            whole["model"][MARK] |= {"before": self._frame.before, "after": self._frame.after}
        try:
            write_whole(json.dumps(whole, ensure_ascii=False), Path(path))
        except OSError as error:
            raise CheckpointError(f"{path}: got {error!r}, expected a writable file") from error

    def encode(self, text: str) -> list[int]:
        """The ids of a text, any number of them, without start and end.

        Where the vocabulary lets texts spell special tokens, such a one is among them.

        Raises:
            DataError: It is not a string, or needs an id that the model has no row for.
        """
        if self._as_siglip is not None:
            ids = self._as_siglip.encode_as_siglip(text)
        else:
            ids = self._engine.encode(cleaned(text, self.cleaning))
        if max(ids, default=0) >= self.vocab_size:
            raise DataError(
                f"text {text[:60]!r}: got token id {max(ids)}, expected below {self.vocab_size}"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, up to the first end token, without special tokens.

        Raises:
            DataError: An id is not in the vocabulary.
        """
        text_ids: list[int] = []
        for id_ in map(int, ids):
            if id_ == self.end_id:
                break
            if not 0 <= id_ < self._engine.size:
                raise DataError(f"token id: got {id_}, expected 0 to {self._engine.size - 1}")
            text_ids.append(id_)
        return self._engine.decode(text_ids).strip()

    def __call__(
        self, texts: str | Sequence[str], context_length: int = 64, truncate: bool = False
    ) -> Int64[Tensor, "text context_length"]:
        """Rows of ids, int64 [n, context_length]: the text between its special tokens, filled up.

        Raises:
            DataError: A text is not a string, or too long and `truncate` (which keeps the end
                token) is not set.
            ConfigError: `context_length` leaves no room for the special tokens.
        """
        return self._rows(texts, context_length, truncate)[0]

    def fitted(self, texts: Sequence[str], context_length: int) -> Fitted:
        """Rows of ids, texts that are too long cut, and how many of them were."""
        return self._rows(texts, context_length, truncate=True)

    def _rows(self, texts: str | Sequence[str], context_length: int, truncate: bool) -> Fitted:
        around = len(self._frame.before) + len(self._frame.after)
        if context_length < around:
            raise ConfigError(f"context_length: got {context_length}, expected at least {around}")
        texts = [texts] if isinstance(texts, str) else texts
        table = np.full((len(texts), context_length), self.pad_id, np.int64)
        cut = 0
        for row, text in zip(table, texts, strict=True):
            pieces = self.encode(text)
            kept = pieces[: context_length - around] if truncate else pieces
            cut += len(kept) < len(pieces)
            ids = self._framed(kept)
            if len(ids) > context_length:
                raise too_long(text, len(ids), context_length)
            start = context_length - len(ids) if self._frame.pads_left else 0
            row[start : start + len(ids)] = ids
        return torch.as_tensor(table), cut

    def _framed(self, ids: Sequence[int]) -> list[int]:
        # Where a text spells an end token at its end, `SiglipTokenizer` puts no other behind it.
        ended = self._as_siglip is not None and bool(ids) and ids[-1] == self.end_id
        return [*self._frame.before, *ids, *(() if ended else self._frame.after)]

    def _padding_to_json(self) -> dict[str, Any]:
        return {
            "strategy": "BatchLongest",
            "direction": "Left" if self._frame.pads_left else "Right",
            "pad_to_multiple_of": None,
            "pad_id": self.pad_id,
            "pad_type_id": 0,
            "pad_token": self._engine.name_of(self.pad_id),
        }

    def _frame_to_json(self) -> dict[str, Any]:
        before, after = self._frame.before, self._frame.after
        names = {id_: self._engine.name_of(id_) for id_ in (*before, *after)}

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


def _model_file(directory: Path) -> Path | None:
    return next((directory / name for name in MODEL_FILES if (directory / name).is_file()), None)


def _open(
    directory: Path, cleaning: TextCleaning, settings: TokenizerSettings
) -> tuple[Engine, Frame]:
    whole, model_file = directory / TOKENIZER_FILE, _model_file(directory)
    if model_file is not None and (cleaning == "siglip" or not whole.is_file()):
        return _open_model_file(model_file, settings)
    if whole.is_file():
        return _open_json(whole, settings)
    raise CheckpointError(
        f"{directory}: got no {TOKENIZER_FILE} and no {' or '.join(MODEL_FILES)}, "
        "expected one of them"
    )


def _open_model_file(path: Path, settings: TokenizerSettings) -> tuple[Engine, Frame]:
    if settings.kind not in _FROM_MODEL_FILE:
        raise CheckpointError(
            f"{path}: got tokenizer_class {settings.kind}, whose ids are not those of the file, "
            f"expected a {TOKENIZER_FILE} beside it"
        )
    file = read_piece_file(path)
    try:
        specials = _specials(settings) if settings.kind == _SIGLIP else ()
        engine = SentencePieceEngine(file, specials)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if settings.kind in _GEMMA and None in (settings.adds_start, settings.adds_end):
        raise CheckpointError(
            f"{path}: got no add_bos_token and add_eos_token, "
            "expected tokenizer_config.json to say which tokens go around a text"
        )
    end = settings.names.get("eos_token")
    end_id = file.end_id if end is None else engine.id_of(end)
    if end_id is None:
        raise CheckpointError(f"{path}: got no end token, expected one in the vocabulary")
    pad_id = end_id if file.model == "Unigram" else file.pad_id
    # A class has a padding token of its own, which its settings name.
    return engine, Frame((), (end_id,), pad_id if settings.kind is None else None, None)


def _specials(settings: TokenizerSettings) -> set[str]:
    """The tokens that `SiglipTokenizer` finds in texts: its own, and all that its settings name.

    They may say whether the spaces beside one go with it; cleaning takes those in any case.
    """
    if plain := [name for name, special in settings.added.items() if not special]:
        raise ValueError(f"got {plain} added as plain tokens, expected special ones only")
    own = {"eos_token": "</s>", "unk_token": "<unk>"}
    return {*(own | dict(settings.names)).values(), *settings.added}


def _open_json(path: Path, settings: TokenizerSettings) -> tuple[Engine, Frame]:
    try:
        text = path.read_text(encoding="utf-8")
        # Parsing a large vocabulary twice takes a second; most are the library's alone.
        whole = json.loads(text) if f'"{MARK}"' in text else {}
        if MARK in whole.get("model", {}):
            mark = whole["model"][MARK]
            before, after = tuple(map(int, mark["before"])), tuple(map(int, mark["after"]))
            return from_json(whole), _padded(Frame(before, after, None, None), whole["padding"])
    except Exception as error:  # a value of any type may be anywhere
        raise CheckpointError(f"{path}: got {error!r}, expected a {TOKENIZER_FILE}") from error
    with library_errors(path):
        library = tokenizers.Tokenizer.from_str(text)
        if settings.kind == "Siglip2Tokenizer":  # which adds this to any file
            steps = [normalizers.Lowercase(), *filter(None, [library.normalizer])]
            library.normalizer = normalizers.Sequence(steps)
        padding = library.padding
        engine = LibraryEngine(library)
        probe = library.encode("a")
    body = [n for n, special in enumerate(probe.special_tokens_mask) if not special]
    if not body:
        raise CheckpointError(f"{path}: got no token for 'a', expected a vocabulary of texts")
    before, after = probe.ids[: body[0]], probe.ids[body[-1] + 1 :]
    return engine, _padded(Frame(tuple(before), tuple(after), None, None), padding)


def _padded(frame: Frame, padding: Mapping[str, Any] | None) -> Frame:
    """The frame with what a `tokenizer.json` says of padding."""
    if padding is None:
        return frame
    left = str(padding["direction"]).lower() == "left"
    return replace(frame, pad_id=int(padding["pad_id"]), pads_left=left)


def _settled(engine: Engine, frame: Frame, settings: TokenizerSettings, directory: Path) -> Frame:
    """The frame as the settings want it, with nothing left open."""

    def id_of(role: str) -> int:
        name = settings.names.get(role)
        id_ = None if name is None else engine.id_of(name)
        if id_ is None:
            raise CheckpointError(
                f"{directory}: got {role} {name!r}, expected one of the vocabulary"
            )
        return id_

    if settings.adds_start is not None and settings.kind not in _OWN_FRAME:
        frame = replace(frame, before=(id_of("bos_token"),) if settings.adds_start else ())
    if settings.adds_end is not None and settings.kind not in _OWN_FRAME:
        frame = replace(frame, after=(id_of("eos_token"),) if settings.adds_end else ())
    if "pad_token" in settings.names:
        frame = replace(frame, pad_id=id_of("pad_token"))
    if frame.pad_id is None:
        raise CheckpointError(
            f"{directory}: got no padding token, expected its name in tokenizer_config.json"
        )
    if settings.pads_left is not None:
        frame = replace(frame, pads_left=settings.pads_left)
    if frame.pads_left is None and settings.kind in _GEMMA:
        raise CheckpointError(
            f"{directory}: got no padding_side for {settings.kind}, expected 'left' or 'right'"
        )
    return frame


def _check_sizes(engine: Engine, frame: Frame, rows: int, directory: Path) -> None:
    if abs(engine.size - rows) > _SPARE_ROWS:
        raise CheckpointError(
            f"{directory}: got a vocabulary of {engine.size}, expected vocab_size={rows}"
        )
    for id_ in (*frame.before, *frame.after, frame.pad_id):
        if id_ is not None and not 0 <= id_ < min(rows, engine.size):
            raise CheckpointError(
                f"{directory}: got {id_} for a special token, expected an id below "
                f"{min(rows, engine.size)}"
            )
