"""What a precision may cost: a cosine of 0.999 with float32, and hardly a decision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import twinlens
from twinlens import CLIP, Embedder
from twinlens.benchmark.synthetic_inputs import ARCHITECTURES
from twinlens.config import CLIPConfig, ResNetConfig
from twinlens.data.datasets import open_dataset
from twinlens.model.text import encode_deduplicated
from twinlens.types import Precision

PRECISIONS: tuple[Precision, ...] = ("bf16", "int8", "int8-weights")
UNSEEN = Path(twinlens.__file__).parent / "assets" / "shards" / "unseen-style"


def shallow(config: CLIPConfig) -> CLIPConfig:
    """The architecture at its real widths with two layers of many, and a short vocabulary."""
    vision, text = config.vision, config.text_config
    assert vision is not None
    layers = (1, 1, 1, 1) if isinstance(vision, ResNetConfig) else 2
    vision = replace(vision, layers=layers)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return replace(config, vision=vision, text=replace(text, layers=2, vocab_size=500))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_stays_near_float32_in_every_precision(name: str):
    torch.manual_seed(0)
    model = CLIP(shallow(ARCHITECTURES[name]())).eval()
    size = model.config.preprocess_config.image_size
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    tokens = torch.randint(1, 400, (3, model.config.text_config.context_length))
    tokens[:, 9] = 499  # the largest id, where the reading ends in towers that end anywhere

    def answers(precision: Precision) -> tuple[torch.Tensor, ...]:
        lens = Embedder.from_model(model, None, precision=precision, device="cpu")
        with torch.inference_mode():
            texts = encode_deduplicated(lens.engine.prepared_tower("text"), tokens.numpy(), 8)  # pyright: ignore
        return torch.from_numpy(lens.embed_pixels(pixels)), texts.float()

    exact = answers("fp32")
    for precision in PRECISIONS:
        for rounded, expected in zip(answers(precision), exact, strict=True):
            cosines = F.cosine_similarity(rounded, expected)
            assert cosines.min() >= 0.999, (precision, cosines)


@pytest.fixture(scope="module")
def unseen() -> tuple[list[bytes], tuple[str, ...]]:
    dataset = open_dataset(str(UNSEEN))
    return [sample.image_bytes() for sample in dataset.samples], tuple(dataset.classnames)


def choices(lens: Embedder, images: list[bytes], names: tuple[str, ...]) -> np.ndarray:
    return (lens.embed_images(images) @ lens.zero_shot_classifier(names)).argmax(axis=1)


def test_auto_decides_as_float32_does(unseen: tuple[list[bytes], tuple[str, ...]]):
    exact = choices(twinlens.load(precision="fp32", device="cpu", decode="exact"), *unseen)
    chosen = choices(twinlens.load(device="cpu"), *unseen)
    assert (chosen == exact).mean() >= 0.995


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions_that_are_asked_for_decide_nearly_so(
    precision: Precision, unseen: tuple[list[bytes], tuple[str, ...]]
):
    images, names = unseen[0][::4], unseen[1]
    exact = twinlens.load(precision="fp32", device="cpu")
    rounded = twinlens.load(precision=precision, device="cpu")
    for one, other in (
        (exact.embed_images(images), rounded.embed_images(images)),
        (exact.embed_texts(names), rounded.embed_texts(names)),
    ):
        assert (one * other).sum(axis=1).min() >= 0.999
    same = choices(exact, images, names) == choices(rounded, images, names)
    assert same.mean() >= 0.98  # 815 names, many of which are near each other
