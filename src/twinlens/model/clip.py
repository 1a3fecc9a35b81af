"""CLIP: two towers, one space, one learned temperature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twinlens.config import ViTConfig
from twinlens.errors import ShapeError
from twinlens.model.resnet import ModifiedResNet
from twinlens.model.text import TextTransformer
from twinlens.model.vision import VisionTransformer

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from twinlens.config import CLIPConfig

MAX_LOGIT_SCALE = math.log(100.0)
"""The paper clips the scale at 100: beyond it training is unstable (section 2.5)."""


class CLIP(nn.Module):
    """The model of Radford et al. 2021.

    `logit_scale` is the log of the inverse temperature, initialised to ln(1/0.07);
    `logit_bias` is None unless the configuration asks for one (sigmoid losses do).
    """

    logit_bias: nn.Parameter | None

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.image_tower = (
            VisionTransformer(config.vision, config.embed_dim, config.activation)
            if isinstance(config.vision, ViTConfig)
            else ModifiedResNet(config.vision, config.embed_dim)
        )
        self.text_tower = TextTransformer(config.text, config.embed_dim, config.activation)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.logit_bias = nn.Parameter(torch.empty(())) if config.logit_bias else None
        self.init_weights()

    def init_weights(self) -> None:
        """The paper's initialisation; reads torch's global random state."""
        self.image_tower.init_weights()
        self.text_tower.init_weights()
        nn.init.constant_(self.logit_scale, math.log(1 / 0.07))
        if self.logit_bias is not None:
            nn.init.constant_(self.logit_bias, -10.0)

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width"], normalize: bool = False
    ) -> Float[Tensor, "batch embed"]:
        """Image features in the shared space.

        Args:
            images: Preprocessed pixels (see `PreprocessConfig`), square, `image_size` a side.
            normalize: Return unit vectors.

        Raises:
            ShapeError: The pictures have another shape.
        """
        size = self.image_tower.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise ShapeError(
                f"images: got shape {list(images.shape)}, expected [batch, 3, {size}, {size}]"
            )
        features = self.image_tower(images)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(
        self, tokens: Int[Tensor, "batch length"], normalize: bool = False
    ) -> Float[Tensor, "batch embed"]:
        """Text features in the shared space.

        Args:
            tokens: Ids from the model's tokenizer, zero padded, each row with an end token.
            normalize: Return unit vectors.

        Raises:
            ShapeError: The rows are longer than the context length.
        """
        features = self.text_tower(tokens)
        return F.normalize(features, dim=-1) if normalize else features

    def forward(
        self, images: Float[Tensor, "image 3 height width"], tokens: Int[Tensor, "text length"]
    ) -> tuple[Float[Tensor, "image text"], Float[Tensor, "text image"]]:
        """Scaled cosine similarities of all pictures with all texts, and their transpose."""
        image_features = self.encode_image(images, normalize=True)
        text_features = self.encode_text(tokens, normalize=True)
        logits = self.logit_scale.exp() * image_features @ text_features.T
        if self.logit_bias is not None:
            logits = logits + self.logit_bias
        return logits, logits.T
