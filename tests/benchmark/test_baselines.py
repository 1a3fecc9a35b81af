"""Peers hold the same model: what they answer is what we answer."""

import sys

import pytest
import torch

from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens import Embedder
from twinlens.benchmark.baselines import open_baselines
from twinlens.errors import CheckpointError, ConfigError, UnknownNameError
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer

TEXTS = ["a red bicycle", "two old dogs near the small blue river house"]


@pytest.fixture
def lens(tiny_model: CLIP) -> Embedder:
    return Embedder.from_model(tiny_model, Tokenizer.clip(), device="cpu", precision="fp32")


@pytest.mark.parametrize(
    "name", [pytest.param("open_clip", marks=pytest.mark.peers), "transformers"]
)
def test_a_peer_answers_as_we_do(lens: Embedder, name: str):
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    images = torch.from_numpy(lens.embed_images([p.permute(1, 2, 0).numpy() for p in pixels]))
    texts = torch.from_numpy(lens.embed_texts(TEXTS))
    exact, rounded = open_baselines([name], lens, ["fp32", "bf16", "int8"])
    for peer, precision, least in ((exact, "fp32", 0.99999), (rounded, "bf16", 0.99)):
        assert peer.library.startswith(f"{name} ")
        assert peer.precision == precision
        assert torch.equal(peer.embed_images(pixels), peer.embed_images(pixels.numpy()))
        for ours, theirs in ((images, peer.embed_images(pixels)), (texts, peer.embed_texts(TEXTS))):
            assert theirs.shape == ours.shape
            assert torch.cosine_similarity(ours, theirs.float()).min() > least
            assert (theirs.dtype == torch.bfloat16) == (precision == "bf16")


def test_what_a_library_has_no_model_for_is_said():
    resnet = tiny_clip("resnet", vocab_size=CLIP_VOCABULARY)
    lens = Embedder.from_model(resnet, Tokenizer.clip(), device="cpu")
    with pytest.raises(CheckpointError, match=r"in transformers: .*'resnet'"):
        open_baselines(["transformers"], lens, ["fp32"])


def test_an_unknown_peer_and_one_that_is_not_there(lens: Embedder, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UnknownNameError, match="did you mean 'open_clip'"):
        open_baselines(["openclip"], lens, ["fp32"])
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match="not installed: run  pip install open_clip_torch"):
        open_baselines(["open_clip"], lens, ["fp32"])


def test_peers_are_asked_in_what_they_have(lens: Embedder):
    with pytest.raises(ConfigError, match="expected one of fp32, bf16"):
        open_baselines(["open_clip"], lens, ["int8"])
    assert open_baselines([], lens, ["int8"]) == []
