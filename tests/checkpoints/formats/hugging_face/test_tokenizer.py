"""Vocabularies in Hugging Face's files: CLIP's recognised, ours with the same ids there."""

import json
import random
from pathlib import Path
from typing import Any
from unicodedata import ucd_3_2_0

import pytest

from tests.checkpoints.formats.reference import piece_vocabulary, transformers
from tests.strange_texts import strange_text
from twinlens.checkpoints.formats.hugging_face.tokenizer import detect_tokenizer, write_tokenizer
from twinlens.errors import CheckpointError
from twinlens.text.cleaning import clean_text
from twinlens.text.clip_bpe import Tokenizer, train_tokenizer
from twinlens.text.sentencepiece import SentencePieceTokenizer

LENGTH = 77
WORDS = "a photo of the LARGE dog isn't here: it's 3.14 naïve cafés, rock'n'roll!!! 日本 नमस्ते 🎉"


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP's vocabulary as it is written, with a configuration that names the model."""
    directory = tmp_path_factory.mktemp("clip")
    write_tokenizer(Tokenizer.clip(), directory, LENGTH)
    (directory / "config.json").write_text('{"model_type": "clip"}')
    return directory


def copied(source: Path, directory: Path, *names: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).write_bytes((source / name).read_bytes())
    return directory


def texts_of_every_length() -> list[str]:
    """From nothing to more than fits."""
    words = WORDS.split() * 10
    return [" ".join(words[:n]) for n in range(LENGTH + 5)]


def assert_same_ids(
    theirs: Any, ours: Tokenizer | SentencePieceTokenizer, texts: list[str]
) -> None:
    """All ids up to the first end token; behind it each pads in its own way."""
    rows = theirs(texts, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    for text, row, own in zip(texts, rows, ours(texts, LENGTH, truncate=True), strict=True):
        own_row = own.tolist()
        end = own_row.index(ours.end_id)
        assert row[: end + 1] == own_row[: end + 1], text
        assert set(row[end + 1 :]) <= {ours.end_id}


def test_transformers_gives_clips_ids(clip_files: Path):
    theirs = transformers.AutoTokenizer.from_pretrained(clip_files)
    assert type(theirs) is transformers.CLIPTokenizer
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.bos_token_id) == (49407, 49407, 49406)
    assert_same_ids(theirs, Tokenizer.clip(), texts_of_every_length())
    assert theirs(["a cat"])["input_ids"] == [[49406, 320, 2368, 49407]]


def test_the_older_files_alone_give_clips_ids(clip_files: Path, tmp_path: Path):
    names = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
    theirs = transformers.CLIPTokenizer.from_pretrained(copied(clip_files, tmp_path, *names))
    assert_same_ids(theirs, Tokenizer.clip(), texts_of_every_length()[:20])


def test_texts_that_are_clean_get_clips_ids(clip_files: Path):
    theirs = transformers.CLIPTokenizer.from_pretrained(clip_files)
    rng = random.Random(0)
    texts = [clean_text(strange_text(rng), "lower") for _ in range(2000)]
    texts = [text for text in texts if is_plain(text)]
    assert len(texts) > 600
    assert_same_ids(theirs, Tokenizer.clip(), texts)


def is_plain(text: str) -> bool:
    """Whether cleaning leaves a text alone, and no library knows its letters better than another.

    Special tokens are called otherwise there, OpenAI's pattern takes a long s for an s, and
    libraries are of different years in what they hold for a letter.
    """
    known = all(ucd_3_2_0.category(character) != "Cn" for character in text)
    return known and "<" not in text and text == clean_text(text, "lower") == text.casefold()


def test_a_vocabulary_trained_here_has_the_same_ids_there(tmp_path: Path):
    ours = train_tokenizer([WORDS], 560)
    write_tokenizer(ours, tmp_path, LENGTH)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.pad_token_id == theirs.eos_token_id == ours.end_id
    assert_same_ids(theirs, ours, texts_of_every_length())
    assert detect_tokenizer(tmp_path) == "tokenizer.json"
    again = Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert again.encode(WORDS) == ours.encode(WORDS)


@pytest.mark.parametrize("cleaning", ["siglip", "canonicalize", "lower", "whitespace", "none"])
def test_a_vocabulary_of_pieces_has_the_same_ids_there(cleaning: Any, tmp_path: Path):
    ours = piece_vocabulary(tmp_path / "ours", cleaning)
    (tmp_path / "theirs").mkdir()
    write_tokenizer(ours, tmp_path / "theirs", LENGTH)
    (tmp_path / "theirs" / "config.json").write_text('{"model_type": "siglip"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    texts = [*texts_of_every_length()[:30], "A snow_man,  (Olaf)! ", "  ", "UPPER lower\nline"]
    assert theirs.model_input_names == ["input_ids"]
    rows = theirs(texts, padding="max_length", truncation=True)["input_ids"]
    assert rows == ours(texts, LENGTH, truncate=True).tolist()
    again = SentencePieceTokenizer.from_directory(tmp_path / "theirs", cleaning)
    assert again(texts, LENGTH, truncate=True).tolist() == rows


def test_clips_vocabulary_is_recognised_in_either_form(clip_files: Path, tmp_path: Path):
    assert detect_tokenizer(clip_files) == "clip"
    whole = copied(clip_files, tmp_path / "whole", "tokenizer.json")
    assert detect_tokenizer(whole) == "clip"
    parts = copied(clip_files, tmp_path / "parts", "vocab.json", "merges.txt")
    assert detect_tokenizer(parts) == "clip"
    # tokenizers before 0.20 wrote a merge as one string.
    table = json.loads((whole / "tokenizer.json").read_text())
    table["model"]["merges"] = [" ".join(merge) for merge in table["model"]["merges"]]
    (whole / "tokenizer.json").write_text(json.dumps(table))
    assert detect_tokenizer(whole) == "clip"


def swap_merges(table: dict[str, Any]) -> None:
    merges = table["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def swap_ids(table: dict[str, Any]) -> None:
    table["model"]["vocab"] |= {"a": table["model"]["vocab"]["b"], "b": 64}


def add_token(table: dict[str, Any]) -> None:
    table["added_tokens"].append({"id": 49408, "content": "<cat-toy>", "special": False})


@pytest.mark.parametrize("change", [swap_merges, swap_ids, add_token])
def test_almost_clips_vocabulary_is_another(change: Any, clip_files: Path, tmp_path: Path):
    table = json.loads((clip_files / "tokenizer.json").read_text())
    change(table)
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    assert detect_tokenizer(tmp_path) == "tokenizer.json"


def test_a_sentencepiece_model_is_a_vocabulary(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(b"")
    assert detect_tokenizer(tmp_path) == "tokenizer.json"


def test_a_text_encoder_of_diffusers_has_its_vocabulary_beside_it(clip_files: Path, tmp_path: Path):
    encoder = tmp_path / "text_encoder_2"
    encoder.mkdir()
    with pytest.raises(CheckpointError, match="text_encoder_2: got no tokenizer"):
        detect_tokenizer(encoder)
    copied(clip_files, tmp_path / "tokenizer_2", "vocab.json", "merges.txt")
    assert detect_tokenizer(encoder) == "clip"
    copied(clip_files, tmp_path / "tokenizer_2", "tokenizer.json")
    (tmp_path / "tokenizer_2" / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="got no vocabulary, expected that of"):
        detect_tokenizer(encoder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "got no tokenizer.json, expected one, or CLIP's vocab.json and merges.txt"),
        ({"vocab.json": "{}"}, "got no tokenizer.json, expected one"),
        (
            {"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\n"},
            "got a vocab.json that is not CLIP's, expected a tokenizer.json for it",
        ),
        ({"tokenizer.json": "["}, "the vocabulary cannot be read: "),
        ({"tokenizer.json": "[]"}, "the vocabulary cannot be read: .*expected a JSON object"),
        (
            {"vocab.json": '{"a": "b"}', "merges.txt": ""},
            "got a vocab.json that is not CLIP's",
        ),
        ({"vocab.json": '{"a": 0, "b": null}', "merges.txt": ""}, "the vocabulary cannot be read"),
    ],
)
def test_other_files_are_one_error(files: dict[str, str], message: str, tmp_path: Path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        detect_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
