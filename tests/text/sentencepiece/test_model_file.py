"""Model files against the sentencepiece library; damaged ones, and kinds that are not read."""

import random
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.text.sentencepiece.vocabularies import KINDS, reference, strange_texts, trained
from twinlens.errors import CheckpointError
from twinlens.text.sentencepiece import SentencePieceTokenizer
from twinlens.text.sentencepiece.model_file import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    read_sentencepiece_model,
)

Field = tuple[int, int | float | str | bytes]


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def message(*fields: Field) -> bytes:
    """A protocol buffer: of each field its number and value."""
    return b"".join(field(number, value) for number, value in fields)


def field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text: str, kind: int = NORMAL, score: float = -1.0) -> Field:
    return 1, message((1, text), (2, score), (3, kind))


PIECES = [piece("<unk>", UNKNOWN), piece("<s>", CONTROL), piece("</s>", CONTROL), piece("▁a")]


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_sentencepiece_reads(kind: str, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(trained(kind))
    ours, theirs = read_sentencepiece_model(tmp_path / "spiece.model"), reference(kind)
    ids = range(theirs.get_piece_size())
    assert [piece.surface for piece in ours.pieces] == [theirs.id_to_piece(id_) for id_ in ids]
    assert [piece.score for piece in ours.pieces] == [theirs.get_score(id_) for id_ in ids]
    defined = [piece.surface for piece in ours.pieces if piece.type == USER_DEFINED]
    assert defined == KINDS[kind].get("user_defined_symbols", [])
    kinds = {UNKNOWN: theirs.is_unknown, CONTROL: theirs.is_control, BYTE: theirs.is_byte}
    for number, holds in kinds.items():
        assert [piece.type == number for piece in ours.pieces] == [holds(id_) for id_ in ids]
    specials = (ours.unk_id, ours.bos_id, ours.eos_id, ours.pad_id)
    expected = (theirs.unk_id(), theirs.bos_id(), theirs.eos_id(), theirs.pad_id())
    assert specials == tuple(None if id_ == -1 else id_ for id_ in expected)


def test_what_a_file_leaves_out_is_the_formats_default(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(message(*PIECES, (1, message((1, "▁b")))))
    file = read_sentencepiece_model(path)
    assert (file.pieces[4].surface, file.pieces[4].score, file.pieces[4].type) == (
        "▁b",
        0.0,
        NORMAL,
    )
    assert (file.model_type, file.byte_fallback, file.precompiled_charsmap) == (
        "Unigram",
        False,
        b"",
    )
    assert (file.add_dummy_prefix, file.remove_extra_whitespaces) == (True, True)
    assert (file.unk_id, file.bos_id, file.eos_id, file.pad_id) == (0, 1, 2, None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "got 0 unknown pieces, expected one"),
        (message(*PIECES, piece("<un>", UNKNOWN)), "got 2 unknown pieces, expected one"),
        (message(*PIECES, piece("▁a")), "got the same piece twice, expected each once"),
        (message(*PIECES, piece("")), "got a piece without a text"),
        (message(*PIECES, piece("b", 7)), "got a piece of kind 7, expected 1 to 6"),
        (message(*PIECES, piece("b", UNUSED)), "got pieces marked as unused, expected none"),
        (message(*PIECES, piece("b", score=float("nan"))), "got the score nan, expected a finite"),
        (message(*PIECES, piece("<0xAG>", BYTE)), "got '<0xAG>' for a byte, expected a name like"),
        (message(*PIECES, (1, message((1, b"\xff")))), "codec can't decode byte 0xff"),
        (message(*PIECES, (1, 5)), "got a number, expected a message"),
        (message(*PIECES, (1, message((1, 5)))), "got a number in field 1, expected bytes"),
        (message(*PIECES, (1, message((1, "b"), (3, "")))), "got bytes in field 3, expected a num"),
        (message(*PIECES, (1, message((1, "b"), (2, "ab")))), "requires a buffer of 4 bytes"),
        (message(*PIECES, (2, message((3, 3)))), r"got model type 3, expected 1 \(unigram\) or 2"),
        (message(*PIECES, (2, message((24, 1)))), "got spaces as suffixes, expected as prefixes"),
        (message(*PIECES, (3, message((5, 0)))), "got spaces that stay spaces, expected written"),
        (message(*PIECES) + varint(1 << 3 | 3), "damaged at byte"),
        (message(*PIECES) + varint(1 << 3 | 2) + varint(1 << 40), "damaged at byte"),
        (message(*PIECES) + b"\x80", "damaged at byte"),
        (message(*PIECES) + b"\xff" * 11, "damaged at byte"),
    ],
)
def test_files_that_are_not_read(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"spiece\.model: .*{expected}") as caught:
        read_sentencepiece_model(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as a SentencePiece model"):
        read_sentencepiece_model(tmp_path / "spiece.model")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([piece("<unk>", UNKNOWN), piece("▁a")], "got no end token, expected one in the vocab"),
        ([*PIECES, (2, message((35, 1)))], "got no piece <0x00>, expected one for each byte"),
        ([*PIECES, (3, message((2, b"\1\0\0\0abc")))], "got damaged rules of normalisation"),
    ],
)
def test_files_that_make_no_vocabulary(fields: Any, expected: str, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(message(*fields))
    with pytest.raises(CheckpointError, match=rf"spiece\.model: {expected}"):
        SentencePieceTokenizer.from_directory(tmp_path, "none")


@pytest.mark.parametrize("kind", ["t5", "t5 bytes", "gemma"])
def test_a_damaged_file_is_one_error_or_a_vocabulary(kind: str, tmp_path: Path) -> None:
    rng, texts, refused = random.Random(kind), strange_texts(10, seed=17), 0
    for _ in range(60):
        data = bytearray(trained(kind))
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(rng.choice([200, len(data)]))] = rng.randrange(256)
        del data[rng.choice([len(data), rng.randrange(len(data))]) :]
        (tmp_path / "spiece.model").write_bytes(data)
        tokenizer = read_or_refuse(tmp_path)
        if isinstance(tokenizer, str):
            assert "\n" not in tokenizer
            refused += 1
        else:
            table = tokenizer(texts, 16, truncate=True)
            assert 0 <= int(table.min()) <= int(table.max()) < tokenizer.vocab_size
            assert all(isinstance(tokenizer.decode(row), str) for row in table.tolist())
    assert 10 < refused < 60


def read_or_refuse(directory: Path) -> SentencePieceTokenizer | str:
    """The vocabulary, or the line that says why there is none."""
    try:
        return SentencePieceTokenizer.from_directory(directory, "siglip")
    except CheckpointError as error:
        return str(error)
