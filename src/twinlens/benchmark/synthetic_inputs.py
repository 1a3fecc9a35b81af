"""Inputs of benchmarks: noise images, texts of natural lengths, JPEG files, random weights."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from twinlens.checkpoints.expected_weights import expected_weights
from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.checkpoints.native_files import write_model
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig
from twinlens.model import presets
from twinlens.text.loading import AnyTokenizer

ARCHITECTURES: Mapping[str, Callable[[], CLIPConfig]] = {
    "RN50": presets.rn50,
    "RN101": presets.rn101,
    "RN50x4": presets.rn50x4,
    "RN50x16": presets.rn50x16,
    "RN50x64": presets.rn50x64,
    "ViT-B-32": presets.vit_b_32,
    "ViT-B-16": presets.vit_b_16,
    "ViT-L-14": presets.vit_l_14,
    "ViT-L-14-336": presets.vit_l_14_336,
    "ViT-B-16-SigLIP": presets.siglip_vit_b_16,
}
"""Architectures by open_clip's names, which `twinlens models --known` also shows."""

JPEG_SIZE = (640, 480)
"""Width and height in pixels, typical of images in training data."""

_COARSE_CELL, _NOISE_STD = 40, 5.0
_JPEG_QUALITY = 88
_MEDIAN_WORDS, _WORDS_SIGMA, _MAX_WORDS = 9, 0.5, 30
"""Lengths of alternative texts of the web: mostly six to fourteen words, a few twice that."""

_NUM_TEXTS = 512

_WEIGHT_STD = 0.02
"""Standard deviation of initial weights, as of GPT's and of CLIP's token embedding."""

_VOCABULARY = """
a the of in on with and at from by near under over behind two three old new small large red blue
green white black yellow wooden golden happy quiet photo image drawing painting view portrait
morning evening summer winter dog cat horse bird fish child woman man family crowd street house
garden kitchen table window bridge river mountain beach forest field road bicycle car train boat
plane bread apple coffee cake pizza flower tree rose guitar piano book camera clock chair lamp hat
running sitting playing sleeping smiling eating reading holding looking isolated vintage stock
""".split()  # noqa: SIM905  a list would be a line a word


def write_random_checkpoint(architecture: str, directory: Path) -> None:
    """Write a checkpoint of one of `ARCHITECTURES` with freshly initialised weights, seed 0.

    Raises:
        CheckpointError: It cannot be written.
    """
    config = ARCHITECTURES[architecture]()
    random = np.random.default_rng(0)
    weights = {
        name: _initial_weight(name, array, config.initial_logits, random)
        for name, array in expected_weights(config).items()
    }
    write_model(config, weights, directory)


def _initial_weight(
    name: str, expected: Array, logits: Mapping[str, float], random: np.random.Generator
) -> Array:
    """A weight of a model that was not trained: numbers of a usual size, norms that do nothing."""
    shape, dtype = expected.shape, expected.dtype
    if name in logits:
        return np.full(shape, logits[name], dtype)
    is_gain = name.endswith(".weight") and len(shape) == 1
    if is_gain or name.endswith("running_var"):
        return np.ones(shape, dtype)
    if name.endswith(("bias", "running_mean", "num_batches_tracked")):
        return np.zeros(shape, dtype)
    # Convolutions have no layer norms before them: a fixed deviation would let images fade.
    std = _WEIGHT_STD if len(shape) < 4 else math.prod(shape[1:]) ** -0.5
    return random.standard_normal(shape, np.float32) * np.float32(std)


def random_pixels(count: int, config: PreprocessConfig, device: str) -> UInt8[Any, "n 3 size size"]:
    """Noise images of a model's input size, the same at every call.

    An array for a processor, a tensor on any other device.
    """
    random = np.random.default_rng(0)
    shape = (count, 3, config.image_size, config.image_size)
    pixels = random.integers(0, 256, shape, np.uint8)
    if device == "cpu":
        return pixels
    import torch  # noqa: PLC0415  other devices are torch's

    return torch.from_numpy(pixels).to(device)


def synthetic_texts(
    config: TextConfig, tokenizer: AnyTokenizer, count: int = _NUM_TEXTS
) -> list[str]:
    """Distinct texts of mixed lengths that fit a model's context.

    There are fewer than `count` if the context is so short that texts repeat.
    """
    drawn = (
        _truncate_to_context(words, config, tokenizer)
        for words in islice(_random_captions(), 4 * count)
    )
    return list(islice(dict.fromkeys(drawn), count))


def _random_captions() -> Iterator[list[str]]:
    random = np.random.default_rng(0)
    while True:
        length = round(random.lognormal(math.log(_MEDIAN_WORDS), _WORDS_SIGMA))
        yield [str(word) for word in random.choice(_VOCABULARY, min(max(length, 1), _MAX_WORDS))]


def _truncate_to_context(words: list[str], config: TextConfig, tokenizer: AnyTokenizer) -> str:
    while len(words) > 1 and count_tokens(" ".join(words), tokenizer) > config.context_length:
        words = words[:-1]
    return " ".join(words)


def count_tokens(text: str, tokenizer: AnyTokenizer) -> int:
    """Number of token ids of a text, with the start and end tokens."""
    return len(tokenizer.encode(text)) + 2


@cache
def synthetic_jpegs(count: int) -> list[bytes]:
    """JPEG files of about the size of photographs: blurred shapes with noise."""
    return [_synthetic_jpeg(np.random.default_rng(seed)) for seed in range(count)]


def _synthetic_jpeg(rng: np.random.Generator) -> bytes:
    width, height = JPEG_SIZE
    shape = (height // _COARSE_CELL, width // _COARSE_CELL, 3)
    coarse = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
    soft = np.asarray(coarse.resize(JPEG_SIZE, Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, _NOISE_STD, (height, width, 1))
    out = io.BytesIO()
    Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(
        out, "jpeg", quality=_JPEG_QUALITY
    )
    return out.getvalue()
