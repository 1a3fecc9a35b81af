"""Backends that encode texts: SentencePiece's own algorithm, or the `tokenizers` library."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import tokenizers
from tokenizers import models

from twinlens.errors import CheckpointError
from twinlens.text.cleaning import clean_text
from twinlens.text.sentencepiece.model_file import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE_SYMBOL,
    UNKNOWN,
    USER_DEFINED,
    SentencePiece,
    SentencePieceModel,
)
from twinlens.text.sentencepiece.normalizer import SentencePieceNormalizer, longest_match_pattern

EXTENSION_KEY = "twinlens.sentencepiece"
"""Key in the model of a `tokenizer.json` for the data that only `SentencePieceBackend` needs."""

_UNKNOWN_SURFACE = " \u2047 "  # what SentencePiece decodes an unknown piece to


class TokenizersBackend:
    """A `tokenizer.json` run by the `tokenizers` library; see `SentencePieceBackend`."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        with translate_tokenizers_errors("tokenizer.json"):
            return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids))

    def token_to_id(self, token: str) -> int | None:
        return self.tokenizer.token_to_id(token)

    def id_to_token(self, id_: int) -> str:
        return self.tokenizer.id_to_token(id_) or ""

    def to_json(self) -> dict[str, Any]:
        return json.loads(self.tokenizer.to_str())


@contextmanager
def translate_tokenizers_errors(source: object) -> Generator[None]:
    """Turn any error of the `tokenizers` library into a `CheckpointError`."""
    try:
        yield
    except BaseException as error:
        # The library raises plain `Exception`, and a `BaseException` if it panics.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{source}: got {reason!r}, expected a vocabulary that the tokenizers library reads"
        ) from error


class SentencePieceBackend:
    """SentencePiece's own algorithm.

    The `tokenizers` library segments normalised texts. The steps in which it differs from
    SentencePiece are done here: normalisation, bytes of unknown characters, and control pieces,
    which no text can spell.
    """

    def __init__(self, model: SentencePieceModel, special_tokens: Collection[str]) -> None:
        """Build the backend of a vocabulary.

        Args:
            model: The vocabulary.
            special_tokens: Pieces that `encode_as_siglip` finds in texts by their name.

        Raises:
            ValueError: The vocabulary is damaged, or has no such special tokens.
        """
        self.model = model
        self.vocab_size = len(model.pieces)
        self.special_tokens = frozenset(special_tokens)
        self._ids = {piece.surface: id_ for id_, piece in enumerate(model.pieces)}
        if unknown := sorted(self.special_tokens - self._ids.keys()):
            raise ValueError(f"got special tokens {unknown}, expected those of the vocabulary")
        defined = [piece.surface for piece in model.pieces if piece.type == USER_DEFINED]
        self._normalize = SentencePieceNormalizer(
            model.precompiled_charsmap,
            add_dummy_prefix=model.add_dummy_prefix,
            remove_extra_whitespaces=model.remove_extra_whitespaces,
            protected=defined,
        )
        # Unigram scores them as any piece; BPE splits texts at them before it merges.
        self._user_defined_pattern = (
            longest_match_pattern(defined) if model.model_type == "BPE" else None
        )
        self._special_pattern = longest_match_pattern(self.special_tokens)
        self._byte_ids = _find_byte_ids(model) if model.byte_fallback else None
        self._bpe_or_unigram: Any = _build_model(model)
        self._unknown_token = model.pieces[model.unk_id].surface
        self._num_unknown_pieces = len(self.encode(self._unknown_token))

    def encode(self, text: str) -> list[int]:
        """Encode a cleaned text to ids, without start and end."""
        normal = self._normalize(text)
        if self._user_defined_pattern is None:
            return self._encode_normalized(normal)
        ids: list[int] = []
        for n, part in enumerate(self._user_defined_pattern.split(normal)):
            ids += [self._ids[part]] if n % 2 else self._encode_normalized(part)
        return ids

    def encode_as_siglip(self, text: str) -> list[int]:
        """Encode a text as transformers' `SiglipTokenizer` does, which cleans texts itself.

        It puts a space before the text, splits it at special tokens, and encodes each part after
        the name of the unknown piece, whose own pieces it then drops. Odd texts show all of this:
        for example, nothing is dropped from a part that merges with that name.

        This is version 5 of transformers. Version 4 lower-cased letters one by one before it
        looked for special tokens: there "</S>" was the end token, and no sigma was final.
        """
        text = SPACE_SYMBOL + clean_text(text, "none").replace(SPACE_SYMBOL, " ")
        parts = [text] if self._special_pattern is None else self._special_pattern.split(text)
        ids: list[int] = []
        for n, part in enumerate(parts):
            if not n % 2:
                ids += self._encode_part_as_siglip(part)
            elif ids == [self._ids.get(SPACE_SYMBOL)]:
                ids = [self._ids[part]]  # no space before a special token that comes first
            else:
                ids.append(self._ids[part])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids to a text, perhaps with spaces around it; special tokens are left out."""
        return b"".join(map(self._decode_piece, ids)).decode(errors="replace")

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token by its name; None if there is none."""
        return self._ids.get(token)

    def id_to_token(self, id_: int) -> str:
        """Return the name of a token by its id."""
        return self.model.pieces[id_].surface

    def to_json(self) -> dict[str, Any]:
        """Make a `tokenizer.json` without padding and start and end tokens."""
        return _tokenizer_json(self.model, self.special_tokens)

    def _encode_normalized(self, text: str) -> list[int]:
        if not text:
            return []
        ids: list[int] = []
        for token in self._bpe_or_unigram.tokenize(text):
            if token.id == self.model.unk_id and self._byte_ids is not None:
                start, end = token.offsets  # in bytes
                ids += [self._byte_ids[byte] for byte in text.encode()[start:end]]
            else:
                ids.append(token.id)
        return ids

    def _encode_part_as_siglip(self, part: str) -> list[int]:
        ids = self.encode(self._unknown_token + clean_text(part, "siglip"))
        return ids[self._num_unknown_pieces :] if len(ids) >= self._num_unknown_pieces else ids

    def _decode_piece(self, id_: int) -> bytes:
        piece = self.model.pieces[id_]
        if piece.type == BYTE:
            return bytes([int(piece.surface[3:5], 16)])
        if piece.type == CONTROL:
            return b""
        text = (
            _UNKNOWN_SURFACE if piece.type == UNKNOWN else piece.surface.replace(SPACE_SYMBOL, " ")
        )
        return text.encode()


TokenizerBackend: TypeAlias = TokenizersBackend | SentencePieceBackend
"""A backend; both classes have the same methods."""


def _find_byte_ids(model: SentencePieceModel) -> list[int]:
    ids = {piece.surface: id_ for id_, piece in enumerate(model.pieces) if piece.type == BYTE}
    try:
        return [ids[f"<0x{byte:02X}>"] for byte in range(256)]
    except KeyError as error:
        raise ValueError(f"got no piece {error.args[0]}, expected one for each byte") from error


def _build_model(model: SentencePieceModel) -> models.Model:
    """Build the library's model of the pieces that a normalised text can contain.

    The other pieces get a name with a space, which no normalised text has.
    """
    reachable = (NORMAL, USER_DEFINED)
    names = [
        piece.surface if piece.type in reachable else f" {id_}"
        for id_, piece in enumerate(model.pieces)
    ]
    if model.model_type == "Unigram":
        scores = map(_piece_score, model.pieces)
        return models.Unigram(list(zip(names, scores, strict=True)), model.unk_id, False)
    return models.BPE(
        {name: id_ for id_, name in enumerate(names)},
        _derive_merges(model.pieces),
        unk_token=names[model.unk_id],
        fuse_unk=True,
    )


def _piece_score(piece: SentencePiece) -> float:
    """Score a piece; SentencePiece scores a user-defined piece above its parts."""
    return 0.1 * (len(piece.surface.encode()) - 1) if piece.type == USER_DEFINED else piece.score


def _derive_merges(pieces: Sequence[SentencePiece]) -> list[tuple[str, str]]:
    """Derive the merges of a BPE model, best first: all pairs that form a piece, by its score."""
    ids = {piece.surface: id_ for id_, piece in enumerate(pieces) if piece.type == NORMAL}
    ordered = sorted(ids, key=lambda text: (-pieces[ids[text]].score, ids[text]))
    return [
        (text[:cut], text[cut:])
        for text in ordered
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    ]


def _tokenizer_json(model: SentencePieceModel, special_tokens: Collection[str]) -> dict[str, Any]:
    """Make a `tokenizer.json` with which the library alone gives the same ids, odd texts aside."""
    normalizers: list[dict[str, Any]] = []
    if model.precompiled_charsmap:
        rules = base64.b64encode(model.precompiled_charsmap).decode()
        normalizers.append({"type": "Precompiled", "precompiled_charsmap": rules})
    if model.remove_extra_whitespaces:
        normalizers.append({"type": "Strip", "strip_left": True, "strip_right": True})
        normalizers.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    spaces = {
        "type": "Metaspace",
        "replacement": SPACE_SYMBOL,
        "prepend_scheme": "always" if model.add_dummy_prefix else "never",
        "split": model.model_type == "Unigram",
    }
    to_spaces = {"type": "Replace", "pattern": {"String": SPACE_SYMBOL}, "content": " "}
    steps: list[dict[str, Any]] = [to_spaces, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if model.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens_json(model, special_tokens),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": spaces,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": steps} if model.byte_fallback else spaces,
        "model": _model_json(model),
    }


def _model_json(model: SentencePieceModel) -> dict[str, Any]:
    kinds = {str(id_): piece.type for id_, piece in enumerate(model.pieces) if piece.type != NORMAL}
    mark = {
        "kinds": kinds,
        "start_id": model.bos_id,
        "end_id": model.eos_id,
        "pad_id": model.pad_id,
        "dummy_prefix": model.add_dummy_prefix,
        "single_spaces": model.remove_extra_whitespaces,
    }
    common = {"type": model.model_type, "byte_fallback": model.byte_fallback, EXTENSION_KEY: mark}
    if model.model_type == "Unigram":
        vocabulary = [[piece.surface, piece.score] for piece in model.pieces]
        return {**common, "unk_id": model.unk_id, "vocab": vocabulary}
    return {
        **common,
        "dropout": None,
        "unk_token": model.pieces[model.unk_id].surface,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "ignore_merges": False,
        "vocab": {piece.surface: id_ for id_, piece in enumerate(model.pieces)},
        "merges": _derive_merges(model.pieces),
    }


def _added_tokens_json(
    model: SentencePieceModel, special_tokens: Collection[str]
) -> list[dict[str, Any]]:
    """List the tokens that the library finds in texts before it splits them."""
    return [
        {
            "id": id_,
            "content": piece.surface,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": piece.surface in special_tokens,
        }
        for id_, piece in enumerate(model.pieces)
        if piece.type == USER_DEFINED or piece.surface in special_tokens
    ]


def backend_from_json(tokenizer_json: Mapping[str, Any]) -> SentencePieceBackend:
    """Build the backend of a parsed `tokenizer.json` that `SentencePieceBackend.to_json` made.

    Raises:
        Exception: It is damaged; the type of the error varies.
    """
    model = tokenizer_json["model"]
    mark = model[EXTENSION_KEY]
    kinds = {int(id_): kind for id_, kind in mark["kinds"].items()}
    if model["type"] == "Unigram":
        scores = [(text, score) for text, score in model["vocab"]]
    else:
        ranks: dict[str, int] = {}
        for rank, (left, right) in enumerate(model["merges"]):
            ranks.setdefault(left + right, rank)
        ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
        scores = [(text, float(-ranks.get(text, len(model["merges"])))) for text in ordered]
    pieces = [
        SentencePiece(text, score, kinds.get(n, NORMAL)) for n, (text, score) in enumerate(scores)
    ]
    steps = tokenizer_json["normalizer"]["normalizers"]
    rules = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
    return SentencePieceBackend(
        SentencePieceModel(
            pieces=pieces,
            model_type=model["type"],
            byte_fallback=model["byte_fallback"],
            unk_id=next(id_ for id_, kind in kinds.items() if kind == UNKNOWN),
            bos_id=mark["start_id"],
            eos_id=mark["end_id"],
            pad_id=mark["pad_id"],
            precompiled_charsmap=base64.b64decode(rules[0]) if rules else b"",
            add_dummy_prefix=mark["dummy_prefix"],
            remove_extra_whitespaces=mark["single_spaces"],
        ),
        [token["content"] for token in tokenizer_json["added_tokens"] if token["special"]],
    )
