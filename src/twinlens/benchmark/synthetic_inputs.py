"""What speed is measured with: made-up images, texts of natural lengths, random weights."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from twinlens.checkpoints.native import save_model
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig
from twinlens.model import presets
from twinlens.model.clip import CLIP
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
"""As open_clip and `twinlens models --known` call them."""

JPEG_SIZE = (640, 480)
"""Pixels, as data sets for training store images."""

_COARSE, _GRAIN = 40, 5.0
_JPEG_QUALITY = 88
_USUAL_WORDS, _SPREAD, _MOST_WORDS = 9, 0.5, 30
"""Alternative texts of the web: most have six to fourteen words, a few twice that."""

_TEXTS = 512
_WORDS = """
a the of in on with and at from by near under over behind two three old new small large red blue
green white black yellow wooden golden happy quiet photo image drawing painting view portrait
morning evening summer winter dog cat horse bird fish child woman man family crowd street house
garden kitchen table window bridge river mountain beach forest field road bicycle car train boat
plane bread apple coffee cake pizza flower tree rose guitar piano book camera clock chair lamp hat
running sitting playing sleeping smiling eating reading holding looking isolated vintage stock
""".split()  # noqa: SIM905  a list would be a line a word


def write_random(architecture: str, directory: Path) -> None:
    """Write a checkpoint of one of `ARCHITECTURES` with the weights that training begins with.

    Raises:
        CheckpointError: It cannot be written.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(CLIP(ARCHITECTURES[architecture]()), directory)


def pixels(
    count: int, config: PreprocessConfig, device: torch.device
) -> UInt8[Tensor, "n 3 size size"]:
    """Noise of the size that a model reads, on its device; the first ones are always the same."""
    random = np.random.default_rng(0)
    shape = (count, 3, config.image_size, config.image_size)
    return torch.as_tensor(random.integers(0, 256, shape, np.uint8)).to(device)


def texts(config: TextConfig, tokenizer: AnyTokenizer, count: int = _TEXTS) -> list[str]:
    """Texts of mixed lengths, each once, that the model's context has room for.

    There may be fewer where the context is so short that texts repeat.
    """
    drawn = (_fitting(words, config, tokenizer) for words in islice(_captions(), 4 * count))
    return list(islice(dict.fromkeys(drawn), count))


def _captions() -> Iterator[list[str]]:
    random = np.random.default_rng(0)
    while True:
        length = round(random.lognormal(math.log(_USUAL_WORDS), _SPREAD))
        yield [str(word) for word in random.choice(_WORDS, min(max(length, 1), _MOST_WORDS))]


def _fitting(words: list[str], config: TextConfig, tokenizer: AnyTokenizer) -> str:
    while len(words) > 1 and token_count(" ".join(words), tokenizer) > config.context_length:
        words = words[:-1]
    return " ".join(words)


def token_count(text: str, tokenizer: AnyTokenizer) -> int:
    """Ids of a text, its start and its end counted."""
    return len(tokenizer.encode(text)) + 2


class Stream:
    """Texts without end: each call gets the next ones."""

    def __init__(self, texts: list[str]) -> None:
        self._next = cycle(texts)

    def take(self, count: int) -> list[str]:
        """The next texts."""
        return list(islice(self._next, count))


@cache
def jpegs(count: int) -> list[bytes]:
    """Files of about the size that photographs of these pixels have: soft shapes and some grain."""
    return [_jpeg(np.random.default_rng(seed)) for seed in range(count)]


def _jpeg(random: np.random.Generator) -> bytes:
    width, height = JPEG_SIZE
    shape = (height // _COARSE, width // _COARSE, 3)
    coarse = Image.fromarray(random.integers(0, 256, shape, np.uint8))
    soft = np.asarray(coarse.resize(JPEG_SIZE, Image.Resampling.BICUBIC), np.float32)
    grain = random.normal(0, _GRAIN, (height, width, 1))
    out = io.BytesIO()
    Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(
        out, "jpeg", quality=_JPEG_QUALITY
    )
    return out.getvalue()
