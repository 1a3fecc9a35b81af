"""Texts to ids: SentencePiece's own way, or what a `tokenizer.json` tells the library to do."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import tokenizers
from tokenizers import models

from twinlens.errors import CheckpointError
from twinlens.text.cleaning import cleaned
from twinlens.text.sentencepiece.model_file import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    USER_DEFINED,
    Piece,
    PieceFile,
)
from twinlens.text.sentencepiece.normalizer import Normalizer, longest_first

MARK = "twinlens.sentencepiece"
"""The key, in the model of a `tokenizer.json`, of what only SentencePiece's own way needs."""

_UNKNOWN_TEXT = " \u2047 "  # what SentencePiece decodes an unknown piece to


class Engine(Protocol):
    """A vocabulary at work.

    Attributes:
        size: Number of ids.
    """

    size: int

    def encode(self, text: str) -> list[int]:
        """The ids of a cleaned text, without start and end."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, perhaps with spaces around; special tokens are left out."""
        ...

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name."""
        ...

    def name_of(self, id_: int) -> str:
        """The name of a token by its id."""
        ...

    def to_json(self) -> dict[str, Any]:
        """A `tokenizer.json` without padding and start and end tokens."""
        ...


class LibraryEngine:
    """What the `tokenizers` library makes of a `tokenizer.json`."""

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        library.no_truncation()
        library.no_padding()
        self.library = library
        self.size = library.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        with library_errors("tokenizer.json"):
            return self.library.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.library.decode(list(ids))

    def id_of(self, token: str) -> int | None:
        return self.library.token_to_id(token)

    def name_of(self, id_: int) -> str:
        return self.library.id_to_token(id_) or ""

    def to_json(self) -> dict[str, Any]:
        return json.loads(self.library.to_str())


@contextmanager
def library_errors(where: object) -> Generator[None]:
    """Turn whatever the `tokenizers` library raises into a `CheckpointError`."""
    try:
        yield
    except BaseException as error:
        # It raises plain `Exception`, and where it panics on damaged data not even that.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{where}: got {reason!r}, expected a vocabulary that the tokenizers library reads"
        ) from error


class SentencePieceEngine:
    """SentencePiece's own way.

    The library cuts normalised texts; what it does otherwise than SentencePiece is done here:
    normalisation, bytes of unknown characters, and no text can spell a control piece.
    """

    def __init__(self, file: PieceFile, specials: Collection[str]) -> None:
        """Build it.

        Args:
            file: The vocabulary.
            specials: Those of its pieces that `encode_as_siglip` finds in texts by their name.

        Raises:
            ValueError: The vocabulary is damaged, or has no such special tokens.
        """
        self.file = file
        self.size = len(file.pieces)
        self.specials = frozenset(specials)
        self._ids = {piece.text: id_ for id_, piece in enumerate(file.pieces)}
        if unknown := sorted(self.specials - self._ids.keys()):
            raise ValueError(f"got special tokens {unknown}, expected those of the vocabulary")
        defined = [piece.text for piece in file.pieces if piece.kind == USER_DEFINED]
        self._normalize = Normalizer(
            file.charsmap,
            dummy_prefix=file.dummy_prefix,
            single_spaces=file.single_spaces,
            kept=defined,
        )
        # Unigram weighs them against other pieces, BPE sets them apart before it merges.
        self._apart = longest_first(defined) if file.model == "BPE" else None
        self._special_pattern = longest_first(self.specials)
        self._bytes = _byte_ids(file) if file.byte_fallback else None
        self._cutter: Any = _cutter(file)
        self._unknown = file.pieces[file.unknown_id].text
        self._unknown_length = len(self.encode(self._unknown))

    def encode(self, text: str) -> list[int]:
        normal = self._normalize(text)
        if self._apart is None:
            return self._cut(normal)
        ids: list[int] = []
        for n, part in enumerate(self._apart.split(normal)):
            ids += [self._ids[part]] if n % 2 else self._cut(part)
        return ids

    def encode_as_siglip(self, text: str) -> list[int]:
        """The ids that transformers' `SiglipTokenizer` gives, which cleans by itself.

        It puts a space before the text, cuts it at special tokens, and encodes each part behind
        the name of the unknown piece, whose own pieces it then drops. With odd texts all of this
        shows: of a part that joins that name, nothing is dropped, for example.

        This is version 5 of transformers. Version 4 made letters small before it looked for
        special tokens, and each for itself: there "</S>" was the end token, and no sigma final.
        """
        text = SPACE + cleaned(text, "none").replace(SPACE, " ")
        parts = [text] if self._special_pattern is None else self._special_pattern.split(text)
        ids: list[int] = []
        for n, part in enumerate(parts):
            if not n % 2:
                ids += self._part_as_siglip(part)
            elif ids == [self._ids.get(SPACE)]:
                ids = [self._ids[part]]  # no space before a special token that comes first
            else:
                ids.append(self._ids[part])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self._bytes_of, ids)).decode(errors="replace")

    def id_of(self, token: str) -> int | None:
        return self._ids.get(token)

    def name_of(self, id_: int) -> str:
        return self.file.pieces[id_].text

    def to_json(self) -> dict[str, Any]:
        return _to_json(self.file, self.specials)

    def _cut(self, text: str) -> list[int]:
        if not text:
            return []
        ids: list[int] = []
        for token in self._cutter.tokenize(text):
            if token.id == self.file.unknown_id and self._bytes is not None:
                start, end = token.offsets  # in bytes
                ids += [self._bytes[byte] for byte in text.encode()[start:end]]
            else:
                ids.append(token.id)
        return ids

    def _part_as_siglip(self, part: str) -> list[int]:
        ids = self.encode(self._unknown + cleaned(part, "siglip"))
        return ids[self._unknown_length :] if len(ids) >= self._unknown_length else ids

    def _bytes_of(self, id_: int) -> bytes:
        piece = self.file.pieces[id_]
        if piece.kind == BYTE:
            return bytes([int(piece.text[3:5], 16)])
        if piece.kind == CONTROL:
            return b""
        text = _UNKNOWN_TEXT if piece.kind == UNKNOWN else piece.text.replace(SPACE, " ")
        return text.encode()


def _byte_ids(file: PieceFile) -> list[int]:
    ids = {piece.text: id_ for id_, piece in enumerate(file.pieces) if piece.kind == BYTE}
    try:
        return [ids[f"<0x{byte:02X}>"] for byte in range(256)]
    except KeyError as error:
        raise ValueError(f"got no piece {error.args[0]}, expected one for each byte") from error


def _cutter(file: PieceFile) -> models.Model:
    """The library's model of the pieces that a normalised text may hold.

    The others have a name with a space, which no such text has.
    """
    reachable = (NORMAL, USER_DEFINED)
    names = [
        piece.text if piece.kind in reachable else f" {id_}"
        for id_, piece in enumerate(file.pieces)
    ]
    if file.model == "Unigram":
        scores = map(_score, file.pieces)
        return models.Unigram(list(zip(names, scores, strict=True)), file.unknown_id, False)
    return models.BPE(
        {name: id_ for id_, name in enumerate(names)},
        _merges(file.pieces),
        unk_token=names[file.unknown_id],
        fuse_unk=True,
    )


def _score(piece: Piece) -> float:
    """SentencePiece scores what a user defined so that it wins over its parts."""
    return 0.1 * (len(piece.text.encode()) - 1) if piece.kind == USER_DEFINED else piece.score


def _merges(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """The pairs that a BPE model may merge, best first: all that make a piece, by its score."""
    ids = {piece.text: id_ for id_, piece in enumerate(pieces) if piece.kind == NORMAL}
    ordered = sorted(ids, key=lambda text: (-pieces[ids[text]].score, ids[text]))
    return [
        (text[:cut], text[cut:])
        for text in ordered
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    ]


def _to_json(file: PieceFile, specials: Collection[str]) -> dict[str, Any]:
    """A `tokenizer.json` that the library alone reads to the same ids, but for odd texts."""
    normalizers: list[dict[str, Any]] = []
    if file.charsmap:
        rules = base64.b64encode(file.charsmap).decode()
        normalizers.append({"type": "Precompiled", "precompiled_charsmap": rules})
    if file.single_spaces:
        normalizers.append({"type": "Strip", "strip_left": True, "strip_right": True})
        normalizers.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    spaces = {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": "always" if file.dummy_prefix else "never",
        "split": file.model == "Unigram",
    }
    written_out = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    steps: list[dict[str, Any]] = [written_out, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if file.dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(file, specials),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": spaces,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": steps} if file.byte_fallback else spaces,
        "model": _model_to_json(file),
    }


def _model_to_json(file: PieceFile) -> dict[str, Any]:
    kinds = {str(id_): piece.kind for id_, piece in enumerate(file.pieces) if piece.kind != NORMAL}
    mark = {
        "kinds": kinds,
        "start_id": file.start_id,
        "end_id": file.end_id,
        "pad_id": file.pad_id,
        "dummy_prefix": file.dummy_prefix,
        "single_spaces": file.single_spaces,
    }
    common = {"type": file.model, "byte_fallback": file.byte_fallback, MARK: mark}
    if file.model == "Unigram":
        vocabulary = [[piece.text, piece.score] for piece in file.pieces]
        return {**common, "unk_id": file.unknown_id, "vocab": vocabulary}
    return {
        **common,
        "dropout": None,
        "unk_token": file.pieces[file.unknown_id].text,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "ignore_merges": False,
        "vocab": {piece.text: id_ for id_, piece in enumerate(file.pieces)},
        "merges": _merges(file.pieces),
    }


def _added_tokens(file: PieceFile, specials: Collection[str]) -> list[dict[str, Any]]:
    """What the library finds in texts before all else."""
    return [
        {
            "id": id_,
            "content": piece.text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": piece.text in specials,
        }
        for id_, piece in enumerate(file.pieces)
        if piece.kind == USER_DEFINED or piece.text in specials
    ]


def from_json(whole: Mapping[str, Any]) -> SentencePieceEngine:
    """The engine of a parsed `tokenizer.json` that `SentencePieceEngine.to_json` made.

    Raises:
        Exception: It is damaged: of no particular kind.
    """
    model = whole["model"]
    mark = model[MARK]
    kinds = {int(id_): kind for id_, kind in mark["kinds"].items()}
    if model["type"] == "Unigram":
        scores = [(text, score) for text, score in model["vocab"]]
    else:
        ranks: dict[str, int] = {}
        for rank, (left, right) in enumerate(model["merges"]):
            ranks.setdefault(left + right, rank)
        ordered = sorted(model["vocab"], key=model["vocab"].__getitem__)
        scores = [(text, float(-ranks.get(text, len(model["merges"])))) for text in ordered]
    pieces = [Piece(text, score, kinds.get(n, NORMAL)) for n, (text, score) in enumerate(scores)]
    steps = whole["normalizer"]["normalizers"]
    rules = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
    return SentencePieceEngine(
        PieceFile(
            pieces=pieces,
            model=model["type"],
            byte_fallback=model["byte_fallback"],
            unknown_id=next(id_ for id_, kind in kinds.items() if kind == UNKNOWN),
            start_id=mark["start_id"],
            end_id=mark["end_id"],
            pad_id=mark["pad_id"],
            charsmap=base64.b64decode(rules[0]) if rules else b"",
            dummy_prefix=mark["dummy_prefix"],
            single_spaces=mark["single_spaces"],
        ),
        [token["content"] for token in whole["added_tokens"] if token["special"]],
    )
