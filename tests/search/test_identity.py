"""The model of an index: the same in other runtimes and precisions, refused when it is another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import tiny_clip
from twinlens.embed.embedder import Embedder
from twinlens.embed.loading import load
from twinlens.errors import DataError
from twinlens.search.identity import Identity, check_same_model, probe_image
from twinlens.text.clip_bpe import Tokenizer

INDEX = Path("photos.idx")


def test_facts_come_back(lens: Embedder):
    identity = Identity.of(lens, "tiny")
    assert Identity.from_facts(identity.facts() | {"rows": "3"}) == identity
    probes = identity.probe_vectors(16)
    assert probes.shape == (4, 16)
    assert np.allclose(np.linalg.norm(probes, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_runtimes_and_precisions_are_the_same_model(
    lens: Embedder, tiny_directory: Path, engine: str, precision: str
):
    identity = Identity.of(lens, "tiny")
    other = load(tiny_directory, engine=engine, precision=precision)
    check_same_model(identity, other, INDEX)
    assert Identity.of(other, "tiny").model_hash == identity.model_hash or precision == "bf16"


def test_one_tower_is_enough_for_words(lens: Embedder, tiny_directory: Path):
    identity = Identity.of(lens, "tiny")
    check_same_model(identity, load(tiny_directory, towers="text"), INDEX, images=False)


def test_other_models_are_refused(lens: Embedder):
    identity = Identity.of(lens, "tiny")
    other = tiny_clip(embed_dim=16, vocab_size=49408, context_length=24, text_layers=3)
    embedder = Embedder.from_model(other, Tokenizer.clip(), device="cpu")
    with pytest.raises(DataError, match=r"photos.idx: got another model \(cosine .* expected tiny"):
        check_same_model(identity, embedder, INDEX)
    wide = tiny_clip(embed_dim=24, vocab_size=49408, context_length=24)
    embedder = Embedder.from_model(wide, Tokenizer.clip(), device="cpu")
    with pytest.raises(DataError, match="embeddings of 24 numbers"):
        check_same_model(identity, embedder, INDEX)


def test_other_preprocessing_is_refused_for_images(lens: Embedder):
    identity = replace(Identity.of(lens, "tiny"), preprocessing_hash="other")
    with pytest.raises(DataError, match="other preprocessing"):
        check_same_model(identity, lens, INDEX)
    check_same_model(identity, lens, INDEX, images=False)


def test_the_probe_image_has_all_levels():
    image = probe_image()
    assert image.shape == (192, 256, 3)
    assert image.dtype == np.uint8
    assert len(np.unique(image)) > 100
