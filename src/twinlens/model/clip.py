"""CLIP: an image and a text tower, a shared space and a learned temperature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twinlens.config import ResNetConfig, ViTConfig
from twinlens.errors import ShapeError
from twinlens.model.resnet import ModifiedResNet
from twinlens.model.text import TextTransformer
from twinlens.model.vision import SigLIPVisionTransformer, VisionTransformer

if TYPE_CHECKING:
    from twinlens.config import CLIPConfig

"""SigLIP's initial values (Zhai et al. 2023, section 3.2): most pairs do not match."""

MAX_LOGIT_SCALE = math.log(100.0)
"""The paper clips the scale at 100: beyond it training is unstable (section 2.5)."""


ImageTower: TypeAlias = VisionTransformer | SigLIPVisionTransformer | ModifiedResNet


def build_image_tower(config: ViTConfig | ResNetConfig, embed_dim: int) -> ImageTower:
    """Build the image tower that a configuration describes."""
    if isinstance(config, ResNetConfig):
        return ModifiedResNet(config, embed_dim)
    if config.pooling == "attention":
        return SigLIPVisionTransformer(config)
    return VisionTransformer(config, embed_dim)


class CLIP(nn.Module):
    """The model of Radford et al. 2021.

    `logit_scale` is the log of the inverse temperature, initialised to ln(1/0.07), or to SigLIP's
    ln(10) with a bias; `logit_bias` is None unless the configuration sets it (for sigmoid losses).
    A model of one tower has only that one as an attribute.
    """

    logit_bias: nn.Parameter | None

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        if config.vision is not None:
            self.image_tower = build_image_tower(config.vision, config.embed_dim)
        if config.text is not None:
            self.text_tower = TextTransformer(config.text, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.logit_bias = nn.Parameter(torch.empty(())) if config.logit_bias else None
        self.init_weights()

    def init_weights(self) -> None:
        """Initialise as in the paper; uses torch's global random state."""
        for tower in self.towers():
            tower.init_weights()
        for name, value in self.config.initial_logits.items():
            nn.init.constant_(getattr(self, name), value)

    def towers(self) -> list[ImageTower | TextTransformer]:
        """Return the towers that the model has, the image tower first."""
        towers = [getattr(self, name, None) for name in ("image_tower", "text_tower")]
        return [tower for tower in towers if tower is not None]

    def encode_image(
        self,
        images: Float[Tensor | np.ndarray, "batch 3 height width"],
        normalize: bool = False,
        patch_indices: Int[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch embed"]:
        """Compute image features in the shared space.

        Args:
            images: Preprocessed pixels (see `PreprocessConfig`), square with side `image_size`;
                arrays are copied to the model's device.
            normalize: Return unit vectors.
            patch_indices: Patches of each image that a vision transformer computes, numbered row
                by row; all of them if not given.

        Raises:
            ShapeError: The images have another shape.
        """
        images = _to_tensor(images, self.logit_scale)
        size = self.image_tower.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise ShapeError(
                f"images: got shape {list(images.shape)}, expected [batch, 3, {size}, {size}]"
            )
        # A ResNet has no patches to drop.
        features = (
            self.image_tower(images)
            if patch_indices is None
            else self.image_tower(images, patch_indices)
        )
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(
        self, tokens: Int[Tensor | np.ndarray, "batch length"], normalize: bool = False
    ) -> Float[Tensor, "batch embed"]:
        """Compute text features in the shared space.

        Args:
            tokens: Ids from the model's tokenizer, zero padded, each row with an end token.
            normalize: Return unit vectors.

        Raises:
            ShapeError: The rows are longer than the context length.
        """
        features = self.text_tower(_to_tensor(tokens, self.logit_scale))
        return F.normalize(features, dim=-1) if normalize else features

    def forward(
        self,
        images: Float[Tensor | np.ndarray, "image 3 height width"],
        tokens: Int[Tensor | np.ndarray, "text length"],
    ) -> tuple[Float[Tensor, "image text"], Float[Tensor, "text image"]]:
        """Compute the scaled cosine similarities of all images and texts, and their transpose."""
        image_features = self.encode_image(images, normalize=True)
        text_features = self.encode_text(tokens, normalize=True)
        logits = self.logit_scale.exp() * image_features @ text_features.T
        if self.logit_bias is not None:
            logits = logits + self.logit_bias
        return logits, logits.T


def _to_tensor(values: Tensor | np.ndarray, like: Tensor) -> Tensor:
    """Tensors as they are; an array as a tensor on the device of another one."""
    return torch.as_tensor(values).to(like.device) if isinstance(values, np.ndarray) else values
