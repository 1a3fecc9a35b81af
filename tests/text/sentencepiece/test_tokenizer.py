"""Rows of ids against transformers and open_clip; what directories may say and leave open."""

# ruff: noqa: E402

import json
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch

from tests.peers import peer
from tests.text.sentencepiece.vocabularies import DEFINED, corpus, reference, strange_texts, trained
from twinlens.errors import CheckpointError, ConfigError, DataError
from twinlens.text.sentencepiece import SentencePieceTokenizer, read_text_cleaning
from twinlens.text.sentencepiece.engines import EXTENSION_KEY
from twinlens.text.sentencepiece.model_file import CONTROL, read_sentencepiece_model

before = dict(os.environ)
open_clip = peer("open_clip.tokenizer")

os.environ.clear()
os.environ.update(before)  # it sets TOKENIZERS_PARALLELISM
from transformers import GemmaTokenizer, T5Tokenizer, XLMRobertaTokenizer
from transformers.models.siglip import tokenization_siglip
from transformers.models.siglip2.tokenization_siglip2 import Siglip2Tokenizer

LENGTHS = (1, 2, 8, 64)
SPECIALS = [
    "</s>", "a</s>", "a </s> b", " </s>", "</s></s>", "a<unk>b", "<unk>", "</S>", "<eos> a<pad>",
    "x  <bos>  y", "</s> " * 70, "</s>photo", "</s>photo</s>", "a</s>PHOTO", "<unk> あ", "あ</s>",
    "  leading", "- dash", "_under_score_", "Don't!", "ΑΣ ΟΔΥΣΣΕΥΣ",
]  # fmt: skip


def model_file(directory: Path, kind: str, name: str = "spiece.model") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(trained(kind))
    return path


def rows(theirs: Any, texts: list[str], length: int) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of end tokens in texts
        return theirs(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids


def siglip(directory: Path, kind: str) -> Any:
    """transformers' SiglipTokenizer; it only asks whether protobuf is there."""
    return tokenization_siglip.SiglipTokenizer(vocab_file=str(model_file(directory, kind)))


def gemma(directory: Path, kind: str, cls: type = GemmaTokenizer, **options: Any) -> Any:
    pieces = read_sentencepiece_model(model_file(directory / "source", kind)).pieces
    ids = {piece.surface: id_ for id_, piece in enumerate(pieces)}
    merges = [
        (piece.surface[:cut], piece.surface[cut:])
        for piece in sorted(pieces, key=lambda piece: -piece.score)
        for cut in range(1, len(piece.surface))
        if piece.type == 1 and {piece.surface[:cut], piece.surface[cut:]} <= {*ids}
    ]
    options = {"add_eos_token": True, "add_bos_token": False, "padding_side": "right"} | options
    return cls(vocab=ids, merges=merges, extra_special_tokens=[], **options)


def t5(directory: Path, kind: str, cls: type = T5Tokenizer, **options: Any) -> Any:
    file = read_sentencepiece_model(model_file(directory / "source", kind))
    vocabulary = [(piece.surface, piece.score) for piece in file.pieces]
    return cls(vocab=vocabulary, _spm_precompiled_charsmap=file.precompiled_charsmap, **options)


def xlm(directory: Path, kind: str) -> Any:
    file = read_sentencepiece_model(model_file(directory / "source", kind))
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [(name, 0.0) for name in names]
    vocabulary += [(piece.surface, piece.score) for piece in file.pieces[3:]] + [("<mask>", 0.0)]
    return XLMRobertaTokenizer(
        vocab=vocabulary, _spm_precompiled_charsmap=file.precompiled_charsmap
    )


@pytest.fixture(autouse=True)
def without_protobuf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization_siglip, "requires_backends", lambda *_: None)


# Against transformers ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["t5", "t5 bytes", "t5 defined", "kept spaces", "bpe"])
def test_siglip_is_transformers(kind: str, tmp_path: Path) -> None:
    theirs = siglip(tmp_path, kind)
    theirs.save_pretrained(tmp_path)
    assert read_text_cleaning(tmp_path) == "siglip"
    ours = SentencePieceTokenizer.from_directory(tmp_path, "siglip")
    texts = strange_texts(4000, seed=11) + SPECIALS + corpus()[:300]
    for length in LENGTHS:
        assert np.array_equal(ours(texts, length, truncate=True), rows(theirs, texts, length))
    assert ours.vocab_size == theirs.vocab_size
    assert ours.pad_id == ours.end_id == theirs.pad_token_id == theirs.eos_token_id


def added(*names: str, **options: bool) -> dict[str, Any]:
    """As transformers writes tokens; the vocabularies here begin with padding, end, unknown."""
    ids = {"<pad>": "0", "</s>": "1", "<unk>": "2"}
    return {ids.get(name, "700"): {"content": name, "special": True, **options} for name in names}


SIGLIP: dict[str, dict[str, Any]] = {
    "as published": {"added_tokens_decoder": added("</s>", "<unk>", lstrip=True, rstrip=True)},
    "no tokens described": {"added_tokens_decoder": "drop"},
    "no names but the padding's": {"eos_token": "drop", "unk_token": "drop"},
    "other padding": {"pad_token": "<pad>", "added_tokens_decoder": added("</s>", "<pad>")},
    "from the left": {"padding_side": "left", "pad_token": "<pad>"},
    "flags that it ignores": {"add_bos_token": True, "add_eos_token": False},
}


@pytest.mark.parametrize("name", SIGLIP)
def test_settings_of_siglip_are_read_as_transformers_does(name: str, tmp_path: Path) -> None:
    siglip(tmp_path, "t5").save_pretrained(tmp_path)
    settings_of(tmp_path, **SIGLIP[name])
    theirs = tokenization_siglip.SiglipTokenizer.from_pretrained(tmp_path)
    ours = SentencePieceTokenizer.from_directory(tmp_path, "siglip")
    texts = strange_texts(300, seed=16) + SPECIALS + corpus()[:50]
    for length in LENGTHS:
        assert np.array_equal(ours(texts, length, truncate=True), rows(theirs, texts, length))


def test_a_text_that_spells_its_end_fits_without_another(tmp_path: Path) -> None:
    theirs = siglip(tmp_path, "t5")
    theirs.save_pretrained(tmp_path)
    ours = SentencePieceTokenizer.from_directory(tmp_path, "siglip")
    for text in ("a</s>", "a</s></s>"):
        with pytest.warns(UserWarning, match="already has"):
            ids = theirs(text).input_ids
        assert ours(text, len(ids)).tolist() == [ids]
        with pytest.raises(DataError, match=f"got {len(ids)} tokens with start and end"):
            ours(text, len(ids) - 1)


FAST: dict[str, Callable[[Path], Any]] = {
    "gemma": lambda path: gemma(path, "gemma plain"),
    "gemma with a start": lambda path: gemma(path, "gemma plain", add_bos_token=True),
    "gemma from the left": lambda path: gemma(path, "gemma plain", padding_side="left"),
    "siglip 2": lambda path: gemma(path, "gemma plain", cls=Siglip2Tokenizer),
    "t5": lambda path: t5(path, "t5", extra_ids=0),
    "t5 with extra ids": lambda path: t5(path, "t5"),
    "t5 padded with the end": lambda path: t5(path, "t5", extra_ids=0, pad_token="</s>"),
    "xlm": lambda path: xlm(path, "t5"),
}


@pytest.mark.parametrize("name", FAST)
def test_a_tokenizer_json_of_transformers(name: str, tmp_path: Path) -> None:
    theirs = FAST[name](tmp_path)
    theirs.save_pretrained(tmp_path)
    assert read_text_cleaning(tmp_path) == "none"
    ours = SentencePieceTokenizer.from_directory(tmp_path, "none")
    assert (ours.vocab_size, ours.pad_id) == (len(theirs), theirs.pad_token_id)
    texts = strange_texts(3000, seed=12) + SPECIALS + corpus()[:300]
    for length in LENGTHS[1:]:
        assert np.array_equal(ours(texts, length, truncate=True), rows(theirs, texts, length))


@pytest.mark.peers
@pytest.mark.parametrize("cleaning", ["canonicalize", "lower", "whitespace"])
@pytest.mark.parametrize("name", ["t5 padded with the end", "gemma", "siglip 2"])
def test_cleaned_texts_are_open_clips(name: str, cleaning: Any, tmp_path: Path) -> None:
    FAST[name](tmp_path).save_pretrained(tmp_path)
    theirs = open_clip.HFTokenizer(str(tmp_path), context_length=24, clean=cleaning)
    ours = SentencePieceTokenizer.from_directory(tmp_path, cleaning)
    texts = strange_texts(2000, seed=13) + SPECIALS
    assert np.array_equal(ours(texts, 24, truncate=True), theirs(texts))


def test_gemmas_model_file_gives_the_ids_of_its_tokenizer_json(tmp_path: Path) -> None:
    gemma(tmp_path, "gemma").save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings |= {"add_bos_token": False, "add_eos_token": True}  # only transformers 4 writes them
    bare = tmp_path / "bare"
    model_file(bare, "gemma", "tokenizer.model")
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = SentencePieceTokenizer.from_directory(tmp_path, "canonicalize")
    ours = SentencePieceTokenizer.from_directory(bare, "canonicalize")
    plain = [text for text in corpus() if not any(symbol in text for symbol in DEFINED)]
    assert len(plain) > 1000
    assert np.array_equal(ours(plain), theirs(plain))


# Model files alone ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "pad_id"), [("t5", 1), ("t5 bytes", 1), ("gemma", 0)])
def test_a_model_file_alone_is_taken_as_siglips_own_code_does(
    kind: str, pad_id: int, tmp_path: Path
) -> None:
    model_file(tmp_path, kind, "sentencepiece.model")
    ours, theirs = SentencePieceTokenizer.from_directory(tmp_path, "none"), reference(kind)
    for text in strange_texts(500, seed=14):
        ids = [*theirs.encode(text)[:15], theirs.eos_id()]
        expected = ids + [pad_id] * (16 - len(ids))
        assert ours(text, 16, truncate=True).tolist() == [expected]


def test_saved_vocabularies_need_no_other_file(tmp_path: Path) -> None:
    sources: dict[str, Any] = dict.fromkeys(FAST, "none") | {"siglip": "siglip"}
    for name, cleaning in sources.items():
        make = FAST.get(name, lambda path: siglip(path, "t5"))
        source, target = tmp_path / name / "source files", tmp_path / name / "saved"
        source.mkdir(parents=True)
        make(source).save_pretrained(source)
        ours = SentencePieceTokenizer.from_directory(source, cleaning)
        target.mkdir()
        ours.save(target / "tokenizer.json")
        assert [path.name for path in target.iterdir()] == ["tokenizer.json"]
        again = SentencePieceTokenizer.from_directory(target, cleaning)
        copy = pickle.loads(pickle.dumps(ours))
        texts = strange_texts(500, seed=15) + SPECIALS
        expected = ours(texts, 16, truncate=True)
        assert np.array_equal(again(texts, 16, truncate=True), expected)
        assert np.array_equal(copy(texts, 16, truncate=True), expected)
        again.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (target / "tokenizer.json").read_bytes()


def test_the_library_pads_a_saved_vocabulary_as_we_do(tmp_path: Path) -> None:
    siglip(tmp_path, "t5").save_pretrained(tmp_path)
    ours = SentencePieceTokenizer.from_directory(tmp_path, "siglip")
    ours.save(tmp_path / "tokenizer.json")
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = ["ka tomi", "stinger on", "a"]
    encoded = library.encode_batch(texts)
    length = len(encoded[0].ids)
    assert [encoding.ids for encoding in encoded] == ours(texts, length).tolist()


# Rows ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceTokenizer:
    directory = tmp_path_factory.mktemp("plain")
    model_file(directory, "t5")
    return SentencePieceTokenizer.from_directory(directory, "canonicalize")


def test_a_row_is_text_end_padding(plain: SentencePieceTokenizer) -> None:
    table = plain(["a photo", ""], 8)
    ids = plain.encode("a photo")
    assert table.dtype == np.int64
    assert table.tolist() == [[*ids, *[1] * (8 - len(ids))], [1] * 8]
    assert np.array_equal(plain("a photo", 8), table[:1])
    assert plain([]).shape == (0, 64)


def test_a_text_that_just_fits_is_taken_and_one_more_token_is_not(
    plain: SentencePieceTokenizer,
) -> None:
    text = "a " * 7
    assert plain(text, 8)[0, 7] == plain.end_id
    message = (
        r"^text 'a a .*': got 9 tokens with start and end, expected at most 8: shorten it by 1$"
    )
    with pytest.raises(DataError, match=message):
        plain(["a", text + "a"], 8)
    assert np.array_equal(plain(text + "a", 8, truncate=True), plain(text, 8))


def test_decoding_gives_back_the_text_up_to_the_end(plain: SentencePieceTokenizer) -> None:
    assert plain.decode(plain("The  large, photo", 24)[0]) == "the large photo"
    assert plain.decode(np.array(plain.encode("a photo"))) == "a photo"
    with pytest.raises(DataError, match=r"token id: got 700, expected 0 to 699"):
        plain.decode([700])
    with pytest.raises(DataError, match="token id: got -1"):
        plain.decode([-1])


@pytest.mark.parametrize("name", ["gemma", "gemma with a start", "xlm", "t5"])
def test_decoding_leaves_special_tokens_out(name: str, tmp_path: Path) -> None:
    FAST[name](tmp_path).save_pretrained(tmp_path)
    ours = SentencePieceTokenizer.from_directory(tmp_path, "whitespace")
    assert ours.decode(ours("the large photo", 24)[0]) == "the large photo"


@pytest.mark.parametrize("texts", [[None], [b"bytes"], ["a", 3]])
def test_only_strings_are_texts(plain: SentencePieceTokenizer, texts: list) -> None:
    with pytest.raises(DataError, match=r"^text: got \w+, expected a string$"):
        plain(texts)


def test_a_context_without_room_is_refused(plain: SentencePieceTokenizer) -> None:
    with pytest.raises(ConfigError, match="context_length: got 0, expected at least 1"):
        plain("a", context_length=0)


def test_ids_without_a_row_are_refused(tmp_path: Path) -> None:
    model_file(tmp_path, "t5")
    ours = SentencePieceTokenizer.from_directory(tmp_path, "none", vocab_size=690)
    assert ours.vocab_size == 690
    words = [word for text in corpus() for word in text.split()]
    known = SentencePieceTokenizer.from_directory(tmp_path, "none")
    rare = next(word for word in words if max(known.encode(word)) >= 690)
    with pytest.raises(DataError, match=r"got token id 69\d, expected below 690"):
        ours(rare)
    with pytest.raises(CheckpointError, match="got a vocabulary of 700, expected vocab_size=32000"):
        SentencePieceTokenizer.from_directory(tmp_path, "none", vocab_size=32_000)


def test_no_cleaned_text_spells_the_end(tmp_path: Path) -> None:
    model_file(tmp_path, "t5")
    ours = SentencePieceTokenizer.from_directory(tmp_path, "none")
    control = {n for n, p in enumerate(read_sentencepiece_model(tmp_path / "spiece.model").pieces)
               if p.type == CONTROL}  # fmt: skip
    assert control.isdisjoint(ours.encode("a </s> b </s><pad>"))


# Directories ---------------------------------------------------------------------------------


def test_tokens_that_t5_adds_to_its_vocabulary_are_not_in_the_model_file(tmp_path: Path) -> None:
    model_file(tmp_path, "t5")
    extra = added("</s>", "<extra_id_0>")
    settings_of(tmp_path, tokenizer_class="T5Tokenizer", pad_token="<pad>", eos_token="</s>")
    settings_of(tmp_path, added_tokens_decoder=extra)
    ours = SentencePieceTokenizer.from_directory(tmp_path, "none")
    assert (ours.vocab_size, ours.end_id, ours.pad_id) == (700, 1, 0)
    assert ours.encode("<extra_id_0>") == reference("t5").encode("<extra_id_0>")


def test_a_directory_without_a_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"got no tokenizer\.json and no spiece\.model or"):
        SentencePieceTokenizer.from_directory(tmp_path, "none")


def settings_of(tmp_path: Path, **changes: Any) -> None:
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text()) if path.is_file() else {}
    kept = {key: value for key, value in (settings | changes).items() if value != "drop"}
    path.write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pad_token": "drop"}, "got no padding token, expected its name in"),
        ({"pad_token": "[PAD]"}, r"got special tokens \['\[PAD\]'\], expected those of the vocab"),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, "whose ids are not those of the file"),
        ({"tokenizer_class": "GemmaTokenizer"}, "got no add_bos_token and add_eos_token"),
        ({"padding_side": "up"}, "padding_side: got 'up', expected 'left' or 'right'"),
        ({"add_eos_token": "yes"}, "add_eos_token: got 'yes', expected true or false"),
        (
            {"pad_token": {"text": "</s>"}},
            r"json: pad_token: got \{.*\}, expected a name or a table",
        ),
        ({"pad_token": 1}, "json: pad_token: got 1, expected a name"),
        ({"tokenizer_class": 5}, "json: tokenizer_class: got 5, expected a name"),
        ({"added_tokens_decoder": [1]}, r"added_tokens_decoder: got \[1\], expected a table"),
        ({"added_tokens_decoder": {"1": "</s>"}}, "decoder: got '</s>', expected a table"),
        (
            {"added_tokens_decoder": {"1": {}}},
            r"decoder: got \{\}, expected a name or a table with",
        ),
        (
            {"added_tokens_decoder": added("<cat>")},
            r"got special tokens \['<cat>'\], expected those",
        ),
        (
            {"added_tokens_decoder": added("<pad>", special=False)},
            r"got \['<pad>'\] added as plain",
        ),
    ],
)
def test_settings_that_leave_something_open_or_make_no_sense(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    siglip(tmp_path, "t5").save_pretrained(tmp_path)
    settings_of(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        SentencePieceTokenizer.from_directory(tmp_path, "none")
    assert "\n" not in str(caught.value)


def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    siglip(tmp_path, "t5").save_pretrained(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": {"content": "<pad>"}}')
    with pytest.raises(CheckpointError, match=r"got pad_token '</s>' and '<pad>' in special_tok"):
        SentencePieceTokenizer.from_directory(tmp_path, "siglip")


def test_the_padding_token_may_stand_in_either_file(tmp_path: Path) -> None:
    siglip(tmp_path, "t5").save_pretrained(tmp_path)
    settings_of(tmp_path, pad_token="drop")
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": {"content": "<pad>"}}')
    assert SentencePieceTokenizer.from_directory(tmp_path, "siglip").pad_id == 0


def test_gemma_says_where_it_pads(tmp_path: Path) -> None:
    gemma(tmp_path, "gemma plain").save_pretrained(tmp_path)
    settings_of(tmp_path, padding_side="drop")
    with pytest.raises(CheckpointError, match="got no padding_side for GemmaTokenizer"):
        SentencePieceTokenizer.from_directory(tmp_path, "none")


def test_each_side_that_the_settings_leave_open_is_the_vocabularys(tmp_path: Path) -> None:
    FAST["gemma with a start"](tmp_path).save_pretrained(tmp_path)
    framed = SentencePieceTokenizer.from_directory(tmp_path, "none")("", 3).tolist()
    assert framed == [[2, 1, 0]]
    settings_of(tmp_path, add_eos_token=False)
    assert SentencePieceTokenizer.from_directory(tmp_path, "none")("", 3).tolist() == [[2, 0, 0]]
    settings_of(tmp_path, add_eos_token="drop", add_bos_token=False)
    assert SentencePieceTokenizer.from_directory(tmp_path, "none")("", 3).tolist() == [[1, 0, 0]]


def test_a_cleaning_is_stated_by_a_class_only(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got no tokenizer_class"):
        read_text_cleaning(tmp_path)
    settings_of(tmp_path, tokenizer_class="SiglipTokenizer", do_lower_case=False)
    with pytest.raises(CheckpointError, match="got do_lower_case false"):
        read_text_cleaning(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", "[", r"tokenizer_config\.json: cannot be read"),
        (
            "special_tokens_map.json",
            "[]",
            r"special_tokens_map\.json: got 'list', expected a JSON ob",
        ),
        (
            "special_tokens_map.json",
            '{"eos_token": 5}',
            r"map\.json: eos_token: got 5, expected a na",
        ),
    ],
)
def test_damaged_settings_are_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    model_file(tmp_path, "t5")
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        SentencePieceTokenizer.from_directory(tmp_path, "none")
    assert str(caught.value).count(name) == 1


def test_a_padding_token_that_is_not_there(tmp_path: Path) -> None:
    FAST["t5"](tmp_path).save_pretrained(tmp_path)
    settings_of(tmp_path, pad_token="[PAD]")
    with pytest.raises(
        CheckpointError, match=r"got pad_token '\[PAD\]', expected one of the vocab"
    ):
        SentencePieceTokenizer.from_directory(tmp_path, "none")


def test_special_tokens_that_have_no_row(tmp_path: Path) -> None:
    FAST["t5 with extra ids"](tmp_path).save_pretrained(tmp_path)
    settings_of(tmp_path, pad_token="<extra_id_0>")
    pad_id = SentencePieceTokenizer.from_directory(tmp_path, "none").pad_id
    assert pad_id >= 700
    with pytest.raises(CheckpointError, match=f"got {pad_id} for a special token, expected an id"):
        SentencePieceTokenizer.from_directory(tmp_path, "none", vocab_size=700)


def test_a_vocabulary_without_letters(tmp_path: Path) -> None:
    tokenizers.Tokenizer(tokenizers.models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: got no token for 'a', expected"):
        SentencePieceTokenizer.from_directory(tmp_path, "none")


def hidden_space(whole: dict[str, Any]) -> None:
    whole["model"][EXTENSION_KEY]["kinds"] = {}


def no_model(whole: dict[str, Any]) -> None:
    del whole["model"]


def other_type(whole: dict[str, Any]) -> None:
    whole["model"]["vocab"] = 5


def no_frame(whole: dict[str, Any]) -> None:
    whole["model"][EXTENSION_KEY]["before"] = "x"


def frame_of_no_id(whole: dict[str, Any]) -> None:
    whole["model"][EXTENSION_KEY]["after"] = [700]


def other_specials(whole: dict[str, Any]) -> None:
    whole["added_tokens"] = [{"content": "<cat>", "special": True}]


def damaged_rules(whole: dict[str, Any]) -> None:
    whole["normalizer"]["normalizers"][0]["precompiled_charsmap"] = "CAAAAAAAAAA="


CHANGES = [no_model, other_type, damaged_rules]
CHANGES_OF_THE_MARK = [hidden_space, no_frame, frame_of_no_id, other_specials]


@pytest.mark.parametrize(
    ("change", "marked"),
    [(change, True) for change in CHANGES + CHANGES_OF_THE_MARK]
    + [(change, False) for change in CHANGES],
)
def test_a_damaged_tokenizer_json_is_named(change: Any, marked: bool, tmp_path: Path) -> None:
    model_file(tmp_path, "t5")
    path = tmp_path / "saved" / "tokenizer.json"
    path.parent.mkdir()
    SentencePieceTokenizer.from_directory(tmp_path, "none").save(path)
    whole = json.loads(path.read_text())
    if not marked:
        del whole["model"][EXTENSION_KEY]
    change(whole)
    path.write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match=re.escape(str(path.parent))) as caught:
        SentencePieceTokenizer.from_directory(path.parent, "none")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"model": {}}'])
def test_no_tokenizer_json_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json") as caught:
        SentencePieceTokenizer.from_directory(tmp_path, "none")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_written(plain: SentencePieceTokenizer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written: "):
        plain.save(tmp_path / "missing" / "tokenizer.json")
