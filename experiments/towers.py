"""An image tower that learns labels, and the same one in CLIP that learns captions.

For `robustness.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from common import (
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    PREPROCESS,
    VOCABULARY,
    Contrastive,
    Mixture,
    Objective,
)
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from split import Split
from torch import Tensor, nn

from twinlens.config import CLIPConfig, ResNetConfig, TextConfig
from twinlens.inference.preprocess import normalize
from twinlens.model.clip import build_image_tower
from twinlens.model.presets import ICON_TEMPLATES
from twinlens.text.clip_bpe import Tokenizer


def _tower(width: int) -> ResNetConfig:
    return ResNetConfig(image_size=IMAGE_SIZE, width=width, layers=(1, 1, 1, 1), heads=width // 2)


class Labels(Objective):
    """Cross-entropy over the classes: the image tower's last map has a row a class."""

    def __init__(self, width: int, split: Split) -> None:
        super().__init__()
        self.tower = build_image_tower(_tower(width), len(split.names))
        self.tower.init_weights()
        self.labels = torch.from_numpy(split.labels)

    def loss(self, images: Tensor, captions: Sequence[str], concepts: Tensor) -> Tensor:
        """Captions are not looked at."""
        return F.cross_entropy(self.tower(images), self.labels[concepts])

    def features(self, images: Tensor) -> Float[Tensor, "image class"]:
        """The logits themselves."""
        return self.tower(images)

    def answers(self, features: Float[np.ndarray, "image class"]) -> NDArray[np.int64]:
        """The most likely class of each image."""
        return features.argmax(axis=1)


class Captions(Contrastive):
    """CLIP; its classifier is written in words, after the weights are there."""

    def __init__(self, width: int, split: Split, tokenizer: Tokenizer) -> None:
        text = TextConfig(
            context_length=CONTEXT_LENGTH,
            vocab_size=VOCABULARY,
            width=128,
            layers=2,
            heads=4,
            activation="quick_gelu",
        )
        config = CLIPConfig(
            embed_dim=192,
            vision=_tower(width),
            text=text,
            tokenizer="tokenizer.json",
            preprocess=PREPROCESS,
        )
        super().__init__(config, tokenizer)
        self.names = split.names

    def features(self, images: Tensor) -> Float[Tensor, "image embed"]:
        """In the space of the captions."""
        return self.clip.encode_image(images, normalize=True)

    def answers(self, features: Float[np.ndarray, "image embed"]) -> NDArray[np.int64]:
        """The class whose name is nearest: the mean of the icon models' three prompts."""
        prompts = [t.replace("{}", name) for t in ICON_TEMPLATES for name in self.names]
        parts = self.tokens(prompts).split(512)
        texts = torch.cat([self.clip.encode_text(part, normalize=True) for part in parts])
        mean = texts.view(len(ICON_TEMPLATES), len(self.names), -1).mean(dim=0)
        return (features @ F.normalize(mean, dim=-1).T.numpy()).argmax(axis=1)


def settle(objective: Labels | Captions, batches: Mixture, count: int = 16) -> None:
    """Batch normalisation by statistics of the weights that are there, and evaluation mode.

    A run keeps the moving average of its weights, and none of the statistics.
    """
    for module in objective.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean
    objective.train()
    for step in range(count):
        objective.features(normalize(batches.batch(step)[0], PREPROCESS))
    objective.eval()


def in_chunks(
    encode: Callable[[Tensor], Tensor], pixels: UInt8[np.ndarray, "image 3 size size"]
) -> Float[np.ndarray, "image out"]:
    """What a network says of images, 256 at a time."""
    parts = torch.from_numpy(pixels).split(256)
    return torch.cat([encode(normalize(part, PREPROCESS)) for part in parts]).numpy()
