"""Read SentencePiece model files without the SentencePiece library.

A model file is a protocol buffer, `sentencepiece_model.proto` of the SentencePiece project: a list
of pieces with scores, how the model was trained, and how texts are normalised before.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinlens.errors import CheckpointError

SPACE_SYMBOL = "\u2581"
"""The symbol for a space in pieces."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces, by their number in the file."""

_PIECE_TYPES = range(NORMAL, BYTE + 1)
_MODEL_TYPES: dict[int, Literal["Unigram", "BPE"]] = {1: "Unigram", 2: "BPE"}
_FLOAT32_LE = struct.Struct("<f")
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class SentencePiece:
    """An entry of the vocabulary; its id is its index in the list.

    Raises:
        ValueError: The entry is not valid.
    """

    surface: str
    score: float
    type: int

    def __post_init__(self) -> None:
        _require(bool(self.surface), "a piece without a text", "one with")
        _require(math.isfinite(self.score), f"the score {self.score}", "a finite one")
        _require(self.type in _PIECE_TYPES, f"a piece of kind {self.type}", "1 to 6")
        named = self.type != BYTE or _BYTE_PIECE.fullmatch(self.surface) is not None
        _require(named, f"{self.surface!r} for a byte", "a name like <0x0A>")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePieceModel:
    """The contents of a model file.

    Attributes:
        pieces: The vocabulary.
        model_type: "Unigram" picks the likeliest pieces, "BPE" merges by score.
        byte_fallback: Encode characters without a piece as their UTF-8 bytes.
        unk_id: The id of anything that is not in the vocabulary.
        bos_id: The id before a text; None if there is none.
        eos_id: The id after a text; None if there is none.
        pad_id: The id that fills a row; None if there is none.
        precompiled_charsmap: The rules that `SentencePieceNormalizer` reads; empty if there are
            none.
        add_dummy_prefix: Put a space before every text.
        remove_extra_whitespaces: Remove spaces at the ends, and repeated ones.
    """

    pieces: list[SentencePiece]
    model_type: Literal["Unigram", "BPE"]
    byte_fallback: bool
    unk_id: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    precompiled_charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


def read_sentencepiece_model(path: Path) -> SentencePieceModel:
    """Read a SentencePiece model file.

    Raises:
        CheckpointError: It is missing, damaged, or of a type that twinlens does not read.
    """
    try:
        return _parse_model(path.read_bytes())
    except (OSError, ValueError, struct.error) as error:  # ValueError: also wrong UTF-8
        raise CheckpointError(
            f"{path}: cannot be read as a SentencePiece model: {error}"
        ) from error


def _parse_model(data: bytes) -> SentencePieceModel:
    pieces: list[SentencePiece] = []
    trainer, normalizer = _ProtobufMessage(b""), _ProtobufMessage(b"")
    for number, value in _iter_fields(memoryview(data)):
        if number == 1:
            pieces.append(_parse_piece(_ProtobufMessage(value)))
        elif number == 2:
            trainer = _ProtobufMessage(value)
        elif number == 3:
            normalizer = _ProtobufMessage(value)
    ids = {piece.surface: id_ for id_, piece in enumerate(pieces)}
    _require(len(ids) == len(pieces), "the same piece twice", "each once")
    unknown = [id_ for id_, piece in enumerate(pieces) if piece.type == UNKNOWN]
    _require(len(unknown) == 1, f"{len(unknown)} unknown pieces", "one")
    model_type = trainer.get_int(3, 1)
    _require(model_type in _MODEL_TYPES, f"model type {model_type}", "1 (unigram) or 2 (BPE)")
    _require(not trainer.get_int(24, 0), "spaces as suffixes", "as prefixes")
    _require(normalizer.get_int(5, 1) == 1, "spaces that stay spaces", f"written as {SPACE_SYMBOL}")
    _require(not any(p.type == UNUSED for p in pieces), "pieces marked as unused", "none")

    def control(number: int, default: str) -> int | None:
        id_ = ids.get(trainer.get_str(number, default))
        return id_ if id_ is not None and pieces[id_].type == CONTROL else None

    return SentencePieceModel(
        pieces=pieces,
        model_type=_MODEL_TYPES[model_type],
        byte_fallback=bool(trainer.get_int(35, 0)),
        unk_id=unknown[0],
        bos_id=control(46, "<s>"),
        eos_id=control(47, "</s>"),
        pad_id=control(48, "<pad>"),
        precompiled_charsmap=normalizer.get_bytes(2),
        add_dummy_prefix=bool(normalizer.get_int(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get_int(4, 1)),
    )


def _parse_piece(message: _ProtobufMessage) -> SentencePiece:
    return SentencePiece(
        message.get_str(1, ""), message.get_float(2, 0.0), message.get_int(3, NORMAL)
    )


def _require(condition: bool, got: str, expected: str) -> None:
    if not condition:
        raise ValueError(f"got {got}, expected {expected}")


class _ProtobufMessage:
    """A message of a protocol buffer, with the last value of each field."""

    def __init__(self, data: object) -> None:
        _require(isinstance(data, bytes | memoryview), "a number", "a message")
        self._fields = dict(_iter_fields(memoryview(data)))  # pyright: ignore[reportArgumentType]

    def get_int(self, number: int, default: int) -> int:
        value = self._fields.get(number, default)
        _require(isinstance(value, int), f"bytes in field {number}", "a number")
        assert isinstance(value, int)
        return value

    def get_bytes(self, number: int) -> bytes:
        value = self._fields.get(number, b"")
        _require(not isinstance(value, int), f"a number in field {number}", "bytes")
        assert not isinstance(value, int)
        return bytes(value)

    def get_str(self, number: int, default: str) -> str:
        return self.get_bytes(number).decode() if number in self._fields else default

    def get_float(self, number: int, default: float) -> float:
        return _FLOAT32_LE.unpack(self.get_bytes(number))[0] if number in self._fields else default


def _iter_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: an integer for a varint, else the value's bytes."""
    offset = 0
    while offset < len(data):
        key, offset = _read_varint(data, offset)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, offset = _read_varint(data, offset)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, offset = _read_varint(data, offset)
        if size is None or size > len(data) - offset:
            raise ValueError(f"damaged at byte {offset}")
        yield number, data[offset : offset + size]
        offset += size


def _read_varint(data: memoryview, offset: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, lowest first; returns it and the offset after it."""
    value = 0
    for shift in range(0, 70, 7):
        if offset >= len(data):
            break
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise ValueError(f"damaged at byte {offset}")
