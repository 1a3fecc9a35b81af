"""The vision transformer: patches to tokens to one feature vector a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twinlens.model.layers import Transformer

if TYPE_CHECKING:
    from jaxtyping import Float

    from twinlens.config import Activation, ViTConfig


class PatchEmbedding(nn.Module):
    """Non-overlapping patches through one linear map.

    The paper's strided convolution is the same map; as a matrix product it is many times faster
    on processors and never slower elsewhere.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        # Columns are ordered as a convolution's flattened kernel: channel, row, column.
        self.weight = nn.Parameter(torch.empty(width, 3 * patch_size**2))

    def init_weights(self) -> None:
        """Uniform, as a convolution of this fan-in would start."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch patch features"]:
        return F.linear(self.patches(images), self.weight)

    def patches(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch patch pixels"]:
        """Cut pictures into flattened patches, row by row."""
        size = self.patch_size
        batch, channels, height, width = images.shape
        rows, columns = height // size, width // size
        grid = images.reshape(batch, channels, rows, size, columns, size)
        return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * size**2)


class VisionTransformer(nn.Module):
    """ViT with a class token and a norm before the first block (paper section 2.4)."""

    def __init__(self, config: ViTConfig, embed_dim: int, activation: Activation) -> None:
        super().__init__()
        width = config.width
        tokens = (config.image_size // config.patch_size) ** 2 + 1
        self.image_size = config.image_size
        self.patch_embedding = PatchEmbedding(config.patch_size, width)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width))
        self.pre_norm = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, config.heads, activation, causal=False)
        self.post_norm = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.empty(width, embed_dim))

    def init_weights(self) -> None:
        """As in the paper's released code."""
        std = self.transformer.width**-0.5
        self.patch_embedding.init_weights()
        nn.init.normal_(self.class_embedding, std=std)
        nn.init.normal_(self.positional_embedding, std=std)
        nn.init.normal_(self.projection, std=std)
        self.transformer.init_weights()

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch embed"]:
        patches = self.patch_embedding(images)
        first = self.class_embedding.expand(len(images), 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding
        x = self.transformer(self.pre_norm(x))
        return self.post_norm(x[:, 0]) @ self.projection
