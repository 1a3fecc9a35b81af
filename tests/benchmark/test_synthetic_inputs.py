"""Inputs of benchmarks."""

from pathlib import Path

import numpy as np
import pytest

from tests.tiny import CLIP_VOCABULARY, tiny_config
from twinlens import load
from twinlens.benchmark import synthetic_inputs
from twinlens.checkpoints.expected_weights import expected_weights
from twinlens.checkpoints.weights import load_weights
from twinlens.config import CLIPConfig
from twinlens.hub.published import published_models
from twinlens.images.decode import decode_image
from twinlens.model import presets
from twinlens.text.clip_bpe import Tokenizer


def test_texts_are_distinct_fit_and_differ_in_length():
    tokenizer = Tokenizer.clip()
    config = presets.vit_b_32().text_config
    texts = synthetic_inputs.synthetic_texts(config, tokenizer)
    assert len(set(texts)) == len(texts) == 512
    lengths = [synthetic_inputs.count_tokens(text, tokenizer) for text in texts]
    assert lengths[0] == int((tokenizer(texts[0]) != 0).sum())
    assert 8 < sum(lengths) / 512 < 20
    assert max(lengths) > 2 * min(lengths)
    assert texts == synthetic_inputs.synthetic_texts(config, tokenizer)


def test_a_short_context_gets_short_texts():
    tokenizer = Tokenizer.clip()
    config = tiny_config(vocab_size=CLIP_VOCABULARY, context_length=3).text_config
    texts = synthetic_inputs.synthetic_texts(config, tokenizer)
    assert 0 < len(texts) < 512  # there are no more of one word
    tokenizer(texts, context_length=3)


def test_pixels_are_those_of_the_model_and_the_first_ones_the_same():
    few, many = (
        synthetic_inputs.random_pixels(n, tiny_config().preprocess_config, "cpu") for n in (2, 5)
    )
    assert isinstance(many, np.ndarray)
    assert many.shape == (5, 3, 32, 32)
    assert many.dtype == np.uint8
    assert np.array_equal(few, many[:2])
    elsewhere = synthetic_inputs.random_pixels(2, tiny_config().preprocess_config, "meta")
    assert (elsewhere.shape, elsewhere.device.type) == (few.shape, "meta")


def test_files_are_like_photographs():
    first, second = synthetic_inputs.synthetic_jpegs(2)
    assert decode_image(first).size == synthetic_inputs.JPEG_SIZE
    assert first != second
    assert 40_000 < len(first) < 150_000


TINY = {
    "vit": tiny_config(vocab_size=CLIP_VOCABULARY),
    "resnet": tiny_config("resnet", vocab_size=CLIP_VOCABULARY),
    "bias": tiny_config(vocab_size=CLIP_VOCABULARY, logit_bias=True),
}


@pytest.mark.parametrize("name", TINY)
def test_an_architecture_is_written_with_random_weights(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    config: CLIPConfig = TINY[name]
    monkeypatch.setitem(synthetic_inputs.ARCHITECTURES, "tiny", lambda: config)
    for place in ("one", "two"):
        synthetic_inputs.write_random_checkpoint("tiny", tmp_path / place)
    one, two = (load_weights(tmp_path / place).tensors for place in ("one", "two"))
    expected = expected_weights(config)
    assert sorted(one) == sorted(expected)
    for key, array in expected.items():
        assert (one[key].shape, one[key].dtype) == (array.shape, array.dtype), key
        assert np.array_equal(one[key], two[key]), key
    assert np.exp(one["logit_scale"]) == pytest.approx(10 if name == "bias" else 1 / 0.07)
    assert one["text_tower.final_norm.weight"].min() == 1
    assert not one["text_tower.final_norm.bias"].any()
    assert 0.015 < one["text_tower.token_embedding.weight"].std() < 0.025
    assert ("logit_bias" in one) == (name == "bias")


@pytest.mark.parametrize("name", TINY)
def test_random_weights_tell_inputs_apart(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(synthetic_inputs.ARCHITECTURES, "tiny", lambda: TINY[name])
    synthetic_inputs.write_random_checkpoint("tiny", tmp_path)
    answers = [load(tmp_path, engine=engine, device="cpu") for engine in ("openvino", "torch")]
    pixels = synthetic_inputs.random_pixels(2, TINY[name].preprocess_config, "cpu")
    for embed in ("embed_pixels", "embed_texts"):
        given = pixels if embed == "embed_pixels" else ["a dog", "two cats"]
        ours, theirs = (getattr(one, embed)(given) for one in answers)
        assert np.allclose(ours, theirs, atol=2e-5)
        assert np.abs(ours[0] - ours[1]).max() > 1e-4


def test_architectures_are_called_as_the_table_of_known_models_does():
    named = {model.architecture for model in published_models().values()}
    assert set(synthetic_inputs.ARCHITECTURES) <= named
