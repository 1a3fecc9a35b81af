"""Inputs of benchmarks."""

from pathlib import Path

import torch

from tests.tiny import CLIP_VOCABULARY, tiny_config
from twinlens import load
from twinlens.benchmark import synthetic_inputs
from twinlens.config import CLIPConfig
from twinlens.hub.published import published_models
from twinlens.images.decode import decode_image
from twinlens.model import presets
from twinlens.text.clip_bpe import Tokenizer

CPU = torch.device("cpu")


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
        synthetic_inputs.random_pixels(n, tiny_config().preprocess_config, CPU) for n in (2, 5)
    )
    assert many.shape == (5, 3, 32, 32)
    assert many.dtype == torch.uint8
    assert torch.equal(few, many[:2])


def test_files_are_like_photographs():
    first, second = synthetic_inputs.synthetic_jpegs(2)
    assert decode_image(first).size == synthetic_inputs.JPEG_SIZE
    assert first != second
    assert 40_000 < len(first) < 150_000


def test_an_architecture_is_written_and_the_random_state_kept(monkeypatch, tmp_path: Path):
    def tiny() -> CLIPConfig:
        return tiny_config(vocab_size=CLIP_VOCABULARY)

    monkeypatch.setitem(synthetic_inputs.ARCHITECTURES, "tiny", tiny)
    state = torch.get_rng_state()
    synthetic_inputs.write_random_checkpoint("tiny", tmp_path / "model")
    assert torch.equal(state, torch.get_rng_state())
    assert load(tmp_path / "model", device="cpu").config == tiny()


def test_architectures_are_called_as_the_table_of_known_models_does():
    named = {model.architecture for model in published_models().values()}
    assert set(synthetic_inputs.ARCHITECTURES) <= named
