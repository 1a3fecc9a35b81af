"""The tokenizer against its reference, and the vocabularies trained here."""

# ruff: noqa: RUF001

import html
import itertools
import json
import os
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import ftfy
import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tests.peers import ARE_HERE, peer
from tests.strange_texts import strange_text
from twinlens.errors import CheckpointError, ConfigError, DataError
from twinlens.text.cleaning import clean_text
from twinlens.text.clip_bpe import Tokenizer, tokenize, train_tokenizer

CLIP = Tokenizer.clip()


def load_reference():
    """open_clip's tokenizer, where it is."""
    before = dict(os.environ)
    module = peer("open_clip.tokenizer")
    os.environ.clear()
    os.environ.update(before)  # it sets TOKENIZERS_PARALLELISM
    return module.SimpleTokenizer() if ARE_HERE else module


REFERENCE = load_reference()

# Parity --------------------------------------------------------------------------------------


@pytest.mark.peers
def test_ids_equal_the_reference_on_100_000_strange_texts() -> None:
    rng = random.Random(20_210_226)
    different = [
        text
        for text in (strange_text(rng) for _ in range(100_000))
        if CLIP.encode(text) != REFERENCE.encode(text)
    ]
    assert different == []


@pytest.mark.peers
def test_ids_equal_the_reference_on_every_character() -> None:
    codes = itertools.chain(range(0x3000), range(0xA000, 0xD800), range(0xE000, 0x11000))
    for code in itertools.chain(codes, range(0x1D000, 0x20000), range(0xE0000, 0xE0200)):
        text = f"a{chr(code)}b"
        assert CLIP.encode(text) == REFERENCE.encode(text), hex(code)


@pytest.mark.peers
@pytest.mark.parametrize(
    "text", ["", " \n ", "\ud83d\ude00", "\ud800 alone", "x" * 5000, "ab " * 3000, "!?" * 2000]
)
def test_ids_equal_the_reference_at_the_edges(text: str) -> None:
    assert CLIP.encode(text) == REFERENCE.encode(text)


@pytest.mark.peers
def test_rows_equal_the_reference() -> None:
    rng = random.Random(1)
    texts = [strange_text(rng) for _ in range(300)] + ["word " * 500, ""]
    for length in (2, 3, 12, 77):
        ours = CLIP(texts, context_length=length, truncate=True)
        assert np.array_equal(ours, REFERENCE(texts, context_length=length))


@pytest.mark.peers
def test_decoding_equals_the_reference() -> None:
    rng = random.Random(2)
    for _ in range(5000):
        ids = [i for i in CLIP.encode(strange_text(rng)) if i < CLIP.start_id]
        assert CLIP.decode(ids) == REFERENCE.decode(ids).strip()


@given(st.text(st.characters(max_codepoint=127)) | st.text("&#;amplt123 <\x1b[m\x0b\x7f\r\n"))
def test_ascii_is_cleaned_as_the_slow_way_would(text: str) -> None:
    slow = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert clean_text(text, "lower") == " ".join(slow.split()).lower()


@given(st.text())
def test_decoding_gives_back_the_cleaned_text_but_for_spaces(text: str) -> None:
    cleaned = clean_text(text, "lower")
    if any(marker in cleaned for marker in ("<start_of_text>", "<end_of_text>", "</w>")):
        return
    # U+0345 is the one character that CLIP's pattern passes over, as the reference does.
    kept = cleaned.replace(" ", "").replace("\u0345", "")
    assert CLIP.decode(CLIP.encode(text)).replace(" ", "") == kept


# Rows ----------------------------------------------------------------------------------------


def test_the_clip_vocabulary() -> None:
    assert (CLIP.vocab_size, CLIP.start_id, CLIP.end_id) == (49_408, 49_406, 49_407)
    assert Tokenizer.clip() is CLIP


def test_a_row_is_start_text_end_zeros() -> None:
    rows = tokenize(["a dog", ""], context_length=5)
    assert rows.dtype == np.int64
    assert rows.tolist() == [[49406, 320, 1929, 49407, 0], [49406, 49407, 0, 0, 0]]
    assert np.array_equal(tokenize("a dog", context_length=5), rows[:1])
    assert tokenize([]).shape == (0, 77)


def test_a_text_that_just_fits_is_taken_and_one_more_word_is_not() -> None:
    assert CLIP("dog " * 75)[0, 76] == CLIP.end_id
    message = r"^text 'dog .*\.\.\.': got 78 tokens .*, expected at most 77: shorten it by 1$"
    with pytest.raises(DataError, match=message):
        CLIP(["a dog", "dog " * 76])
    with pytest.raises(DataError, match=r"^text 'a\\nb") as caught:
        CLIP("a\nb" * 100)
    assert "\n" not in str(caught.value)


def test_truncating_keeps_the_end_token() -> None:
    row = CLIP("dog " * 100, context_length=4, truncate=True)
    assert row.tolist() == [[49406, 1929, 1929, 49407]]


@pytest.mark.parametrize("texts", [[None], [b"bytes"], ["a", 3], [["nested"]]])
def test_only_strings_are_texts(texts: list) -> None:
    with pytest.raises(DataError, match=r"^text: got \w+, expected a string$"):
        CLIP(texts)


def test_a_context_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="context_length: got 1, expected at least 2"):
        CLIP("a", context_length=1)


def test_decoding_stops_at_the_first_end_token() -> None:
    assert CLIP.decode(CLIP("A  dog")[0]) == "a dog"
    assert CLIP.decode(np.array([320, 1929])) == "a dog"
    with pytest.raises(DataError, match="token id: got 49408, expected 0 to 49407"):
        CLIP.decode([49408])


def test_the_word_cache_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinlens.text.clip_bpe._MAX_CACHED_WORDS", 10)
    monkeypatch.setattr("twinlens.text.clip_bpe._MAX_CACHED_WORD_LENGTH", 6)
    tokenizer = train_tokenizer(["a"], 514)
    for word in [f"word{i}" for i in range(25)] + ["longer-word"]:
        assert tokenizer.encode(word) == tokenizer.encode(word)
        assert len(tokenizer._word_cache) <= 10
    assert {len(word) for word in tokenizer._word_cache} == {6}


# Vocabularies trained here -------------------------------------------------------------------

CAPTIONS = [
    "A red apple &amp; a GREEN pear",
    "ein roter Apfel auf dem Tisch",
    "une pomme rouge d’été",
    "赤いりんごと緑の梨",
    "红色的苹果和绿色的梨",
    "تفاحة حمراء وكمثرى خضراء",
    "लाल सेब और हरी नाशपाती",
    "красное яблоко",
    "빨간 사과",
    "แอปเปิ้ลสีแดง",
    "the red apple's shadow",
    "two red apples",
]


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_tokenizer(CAPTIONS, 600)


def test_a_trained_vocabulary_has_the_size_asked_for(trained: Tokenizer) -> None:
    assert (trained.vocab_size, trained.start_id, trained.end_id) == (600, 598, 599)
    row = trained("red apple", context_length=10)[0]
    assert row[0] == 598
    assert row.argmax() == (row == 599).nonzero()[0]
    assert max(i for text in CAPTIONS for i in trained.encode(text)) < 598


def test_training_shortens_its_texts(trained: Tokenizer) -> None:
    bare = train_tokenizer(CAPTIONS, 514)
    text = CAPTIONS[3]
    assert len(bare.encode(text)) == len(clean_text(text, "lower").encode())
    assert len(trained.encode(text)) < len(bare.encode(text))
    assert len(trained.encode("red apple")) == 2


def test_a_trained_vocabulary_knows_every_text_and_no_special_token(trained: Tokenizer) -> None:
    rng = random.Random(3)
    for text in [
        *CAPTIONS,
        "<start_of_text> <end_of_text>",
        *(strange_text(rng) for _ in range(3000)),
    ]:
        ids = trained.encode(text)
        assert not {trained.start_id, trained.end_id} & set(ids)
        if "</w>" not in clean_text(text, "lower"):
            assert trained.decode(ids).replace(" ", "") == clean_text(text, "lower").replace(
                " ", ""
            )


def test_marks_stay_with_their_letters(trained: Tokenizer) -> None:
    assert trained.decode(trained.encode("हिन्दी ภาษาไทย")) == "हिन्दी ภาษาไทย"


def test_a_saved_vocabulary_is_read_back(trained: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]
    for again in (Tokenizer.from_file(path), pickle.loads(pickle.dumps(trained))):
        assert np.array_equal(again(CAPTIONS), trained(CAPTIONS))
        again.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_the_tokenizers_library_reads_the_file_to_the_same_ids(
    trained: Tokenizer, tmp_path: Path
) -> None:
    for ours in (trained, CLIP):
        ours.save(tmp_path / "tokenizer.json")
        theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        for text in CAPTIONS:
            cleaned = clean_text(text, "lower")
            ids = theirs.encode(cleaned).ids
            assert ids == [ours.start_id, *ours.encode(text), ours.end_id]
            assert theirs.decode(ids).strip() == ours.decode(ids)


def test_the_clip_vocabulary_survives_a_file(tmp_path: Path) -> None:
    CLIP.save(tmp_path / "tokenizer.json")
    again = Tokenizer.from_file(tmp_path / "tokenizer.json")
    texts = ["a dog", "<end_of_text>", "it's 日本"]
    assert [again.encode(text) for text in texts] == [CLIP.encode(text) for text in texts]


def test_training_does_not_depend_on_order_or_process(trained: Tokenizer, tmp_path: Path) -> None:
    train_tokenizer(CAPTIONS[::-1], 600).save(tmp_path / "reversed.json")
    program = (
        "import json, sys; from twinlens.text.clip_bpe import train_tokenizer;"
        "train_tokenizer(json.loads(sys.argv[1]), 600).save(sys.argv[2])"
    )
    arguments = [sys.executable, "-c", program, json.dumps(CAPTIONS), str(tmp_path / "other.json")]
    subprocess.run(arguments, check=True)
    trained.save(tmp_path / "here.json")
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_a_vocabulary_that_cannot_be_filled_says_how_far_it_reaches() -> None:
    with pytest.raises(DataError, match="vocab_size: got 5000, expected at most") as caught:
        train_tokenizer(CAPTIONS, 5000)
    reached = int(re.search(r"at most (\d+)", str(caught.value))[1])
    assert train_tokenizer(CAPTIONS, reached).vocab_size == reached


def test_training_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ConfigError, match="vocab_size: got 513, expected at least 514"):
        train_tokenizer(CAPTIONS, 513)
    with pytest.raises(DataError, match="got one string"):
        train_tokenizer("a text", 600)
    with pytest.raises(DataError, match="text: got NoneType, expected a string"):
        train_tokenizer(["a", None], 600)


# Damaged files -------------------------------------------------------------------------------


def test_a_damaged_file_is_named(trained: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[:-100],
        b"\xff" + whole,
        b"[]",
        b"{}",
        whole.replace(b"BPE", b"BPX"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
            Tokenizer.from_file(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="No such file"):
        Tokenizer.from_file(tmp_path / "missing.json")


def other_suffix(file: dict) -> None:
    file["model"]["end_of_word_suffix"] = "@"


def other_pattern(file: dict) -> None:
    file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a+)+b"


def missing_byte(file: dict) -> None:
    del file["model"]["vocab"]["!"]


def more_ids(file: dict) -> None:
    file["model"]["vocab"]["extra"] = len(file["model"]["vocab"])


@pytest.mark.parametrize("change", [other_suffix, other_pattern, missing_byte, more_ids])
def test_another_kind_of_vocabulary_is_refused(trained: Tokenizer, tmp_path: Path, change) -> None:
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    file = json.loads(path.read_text())
    change(file)
    path.write_text(json.dumps(file))
    with pytest.raises(CheckpointError, match="of CLIP's kind"):
        Tokenizer.from_file(path)


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(
    trained: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.json: cannot be written: Is a directory"
    ):
        trained.save(tmp_path / "tokenizer.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]
    with pytest.raises(CheckpointError, match="No such file"):
        trained.save(tmp_path / "missing" / "tokenizer.json")
