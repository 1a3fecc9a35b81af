"""SentencePiece model files, read without their library.

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

SPACE = "\u2581"
"""Stands for a space in pieces."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of pieces, by their number in the file."""

_KINDS = range(NORMAL, BYTE + 1)
_MODELS: dict[int, Literal["Unigram", "BPE"]] = {1: "Unigram", 2: "BPE"}
_FLOAT = struct.Struct("<f")
_BYTE_NAME = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry of the vocabulary; its id is its place in the list.

    Raises:
        ValueError: No vocabulary has such a piece.
    """

    text: str
    score: float
    kind: int

    def __post_init__(self) -> None:
        _require(bool(self.text), "a piece without a text", "one with")
        _require(math.isfinite(self.score), f"the score {self.score}", "a finite one")
        _require(self.kind in _KINDS, f"a piece of kind {self.kind}", "1 to 6")
        named = self.kind != BYTE or _BYTE_NAME.fullmatch(self.text) is not None
        _require(named, f"{self.text!r} for a byte", "a name like <0x0A>")


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceFile:
    """What a model file says.

    Attributes:
        pieces: The vocabulary.
        model: How a text is cut: the likeliest pieces, or merges by score.
        byte_fallback: Whether characters without a piece become their UTF-8 bytes.
        unknown_id: The id of what is not in the vocabulary.
        start_id: The id before a text; None if there is none.
        end_id: The id after a text; None if there is none.
        pad_id: The id that fills a row; None if there is none.
        charsmap: The rules that `Normalizer` reads; empty if there are none.
        dummy_prefix: Whether a space goes before every text.
        single_spaces: Whether spaces at the ends, and doubled ones, go.
    """

    pieces: list[Piece]
    model: Literal["Unigram", "BPE"]
    byte_fallback: bool
    unknown_id: int
    start_id: int | None
    end_id: int | None
    pad_id: int | None
    charsmap: bytes
    dummy_prefix: bool
    single_spaces: bool


def read_piece_file(path: Path) -> PieceFile:
    """Read a SentencePiece model file.

    Raises:
        CheckpointError: It is missing, damaged, or of a kind that twinlens does not read.
    """
    try:
        return _parse(path.read_bytes())
    except (OSError, ValueError, struct.error) as error:  # ValueError: also wrong UTF-8
        raise CheckpointError(
            f"{path}: cannot be read as a SentencePiece model: {error}"
        ) from error


def _parse(data: bytes) -> PieceFile:
    pieces: list[Piece] = []
    trainer, normalizer = _Message(b""), _Message(b"")
    for number, value in _fields(memoryview(data)):
        if number == 1:
            pieces.append(_parse_piece(_Message(value)))
        elif number == 2:
            trainer = _Message(value)
        elif number == 3:
            normalizer = _Message(value)
    ids = {piece.text: id_ for id_, piece in enumerate(pieces)}
    _require(len(ids) == len(pieces), "the same piece twice", "each once")
    unknown = [id_ for id_, piece in enumerate(pieces) if piece.kind == UNKNOWN]
    _require(len(unknown) == 1, f"{len(unknown)} unknown pieces", "one")
    model = trainer.integer(3, 1)
    _require(model in _MODELS, f"model type {model}", "1 (unigram) or 2 (BPE)")
    _require(not trainer.integer(24, 0), "spaces as suffixes", "as prefixes")
    _require(normalizer.integer(5, 1) == 1, "spaces that stay spaces", f"written as {SPACE}")
    _require(not any(p.kind == UNUSED for p in pieces), "pieces marked as unused", "none")

    def control(number: int, default: str) -> int | None:
        id_ = ids.get(trainer.text(number, default))
        return id_ if id_ is not None and pieces[id_].kind == CONTROL else None

    return PieceFile(
        pieces=pieces,
        model=_MODELS[model],
        byte_fallback=bool(trainer.integer(35, 0)),
        unknown_id=unknown[0],
        start_id=control(46, "<s>"),
        end_id=control(47, "</s>"),
        pad_id=control(48, "<pad>"),
        charsmap=normalizer.raw(2),
        dummy_prefix=bool(normalizer.integer(3, 1)),
        single_spaces=bool(normalizer.integer(4, 1)),
    )


def _parse_piece(message: _Message) -> Piece:
    return Piece(message.text(1, ""), message.real(2, 0.0), message.integer(3, NORMAL))


def _require(holds: bool, got: str, expected: str) -> None:
    if not holds:
        raise ValueError(f"got {got}, expected {expected}")


class _Message:
    """A message of a protocol buffer: of each field the last value."""

    def __init__(self, data: object) -> None:
        _require(isinstance(data, bytes | memoryview), "a number", "a message")
        self._values = dict(_fields(memoryview(data)))  # pyright: ignore[reportArgumentType]

    def integer(self, number: int, default: int) -> int:
        value = self._values.get(number, default)
        _require(isinstance(value, int), f"bytes in field {number}", "a number")
        assert isinstance(value, int)
        return value

    def raw(self, number: int) -> bytes:
        value = self._values.get(number, b"")
        _require(not isinstance(value, int), f"a number in field {number}", "bytes")
        assert not isinstance(value, int)
        return bytes(value)

    def text(self, number: int, default: str) -> str:
        return self.raw(number).decode() if number in self._values else default

    def real(self, number: int, default: float) -> float:
        return _FLOAT.unpack(self.raw(number))[0] if number in self._values else default


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer for a varint, else the value's bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, place = _varint(data, place)
        if size is None or size > len(data) - place:
            raise ValueError(f"damaged at byte {place}")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"damaged at byte {place}")
