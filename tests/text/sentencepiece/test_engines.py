"""Ids, normalisation and decoding against the sentencepiece library, on strange texts."""

import json
import pickle
from pathlib import Path

import pytest
import tokenizers

from tests.text.sentencepiece.vocabularies import KINDS, corpus, reference, strange_texts, trained
from twinlens.text.sentencepiece.engines import (
    SentencePieceBackend,
    backend_from_json,
    translate_tokenizers_errors,
)
from twinlens.text.sentencepiece.model_file import (
    CONTROL,
    UNKNOWN,
    USER_DEFINED,
    read_sentencepiece_model,
)
from twinlens.text.sentencepiece.normalizer import SentencePieceNormalizer


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def engine(kind: str, tmp_path_factory: pytest.TempPathFactory) -> SentencePieceBackend:
    path = tmp_path_factory.mktemp("pieces") / "spiece.model"
    path.write_bytes(trained(kind))
    return SentencePieceBackend(read_sentencepiece_model(path), ())


def test_ids_are_sentencepieces(kind: str, engine: SentencePieceBackend) -> None:
    theirs, texts = reference(kind), strange_texts(6000, seed=5) + corpus()[:500]
    different = [text for text in texts if engine.encode(text) != theirs.encode(text)]
    assert different == []


def test_normalised_texts_are_sentencepieces(kind: str, engine: SentencePieceBackend) -> None:
    file = engine.model
    defined = [piece.surface for piece in file.pieces if piece.type == USER_DEFINED]
    normalize = SentencePieceNormalizer(
        file.precompiled_charsmap,
        add_dummy_prefix=file.add_dummy_prefix,
        remove_extra_whitespaces=file.remove_extra_whitespaces,
        protected=defined,
    )
    theirs = reference(kind)
    texts = strange_texts(3000, seed=6)
    assert [t for t in texts if normalize(t) != theirs.normalize(t)] == []


def test_every_character_is_normalised_as_sentencepiece_does(tmp_path: Path) -> None:
    theirs = reference("t5")
    (tmp_path / "spiece.model").write_bytes(trained("t5"))
    charsmap = read_sentencepiece_model(tmp_path / "spiece.model").precompiled_charsmap
    normalize = SentencePieceNormalizer(
        charsmap, add_dummy_prefix=True, remove_extra_whitespaces=True
    )
    codes = [*range(0x3400), *range(0xA000, 0xD800, 7), *range(0xE000, 0x11000)]
    for code in [*codes, *range(0x1D000, 0x1F000)]:
        text = f"a{chr(code)}\u0301b {chr(code)}"
        assert normalize(text) == theirs.normalize(text), hex(code)


def test_decoded_texts_are_sentencepieces(kind: str, engine: SentencePieceBackend) -> None:
    theirs = reference(kind)
    for text in strange_texts(2000, seed=7):
        ids = theirs.encode(text)
        assert engine.decode(ids).strip() == theirs.decode(ids).strip()
        ids = [engine.model.eos_id, *ids]
        assert engine.decode(ids).strip() == theirs.decode(ids).strip()


def test_a_tokenizer_json_gives_the_same_engine(kind: str, engine: SentencePieceBackend) -> None:
    again = backend_from_json(json.loads(json.dumps(engine.to_json())))
    assert again.to_json() == engine.to_json()
    copy = pickle.loads(pickle.dumps(engine))
    for text in strange_texts(1000, seed=8):
        assert again.encode(text) == copy.encode(text) == engine.encode(text)


def test_the_library_alone_reads_it_to_the_same_ids(engine: SentencePieceBackend) -> None:
    library = tokenizers.Tokenizer.from_str(json.dumps(engine.to_json()))
    defined = {n for n, piece in enumerate(engine.model.pieces) if piece.type == USER_DEFINED}
    for text in corpus()[:1000]:
        ids = engine.encode(text)
        if engine.model.add_dummy_prefix and not defined.isdisjoint(ids):
            continue  # the library forgets the space before them
        assert library.encode(text).ids == ids
        if engine.model.unk_id not in ids:  # shown as "<unk>" there, as " ⁇ " here
            assert library.decode(ids).strip() == engine.decode(ids).strip()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_fault_of_the_library_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), translate_tokenizers_errors("tokenizer.json"):
        raise error


def test_no_text_spells_a_control_piece(engine: SentencePieceBackend) -> None:
    control = {n for n, piece in enumerate(engine.model.pieces) if piece.type == CONTROL}
    assert control
    for piece in engine.model.pieces:
        if piece.type in (CONTROL, UNKNOWN):
            assert not control & {
                *engine.encode(piece.surface),
                *engine.encode(f"a{piece.surface}b"),
            }
