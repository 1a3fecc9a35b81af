"""The vision transformer: from patches to one feature vector per image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twinlens.model.layers import MLP, Transformer, split_heads

if TYPE_CHECKING:
    from twinlens.config import ViTConfig


class PatchEmbedding(nn.Module):
    """Non-overlapping patches through one linear map.

    The paper's strided convolution is the same map; as a matrix product it is many times faster
    on processors and never slower elsewhere.
    """

    def __init__(self, patch_size: int, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.linear_fn: Callable[..., Tensor] = F.linear
        """The matrix product; packed towers replace it."""
        # Columns are ordered as a convolution's flattened kernel: channel, row, column.
        self.weight = nn.Parameter(torch.empty(width, 3 * patch_size**2))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None

    def init_weights(self) -> None:
        """Initialise uniformly, as torch does a convolution of this fan-in."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        patch_indices: Int[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch patch features"]:
        patches = self.extract_patches(images)
        if patch_indices is not None:  # before the product: dropped patches cost nothing
            patches = patches.gather(1, patch_indices[..., None].expand(-1, -1, patches.shape[2]))
        return self.linear_fn(patches, self.weight, self.bias)

    def extract_patches(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch patch pixels"]:
        """Cut images into flattened patches, row by row; a remainder of a patch is left out."""
        size = self.patch_size
        batch, channels, height, width = images.shape
        rows, columns = height // size, width // size
        whole = images[:, :, : rows * size, : columns * size]
        grid = whole.reshape(batch, channels, rows, size, columns, size)
        return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * size**2)


def select_positions(
    positional_embedding: Float[Tensor, "patch width"],
    patch_indices: Int[Tensor, "batch kept"] | None,
) -> Float[Tensor, "*batch seen width"]:
    """Select the positional embeddings of all patches, or of those kept of each image."""
    return positional_embedding if patch_indices is None else positional_embedding[patch_indices]


class VisionTransformer(nn.Module):
    """ViT with a class token and a norm before the first block (paper section 2.4).

    Given `patch_indices`, it computes only those patches of each image: half of them cost half
    (FLIP, Li et al. 2023, section 3).
    """

    def __init__(self, config: ViTConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        tokens = (config.image_size // config.patch_size) ** 2 + 1
        self.image_size = config.image_size
        self.patch_embedding = PatchEmbedding(config.patch_size, width)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width))
        self.pre_norm = nn.LayerNorm(width, config.norm_eps)
        self.transformer = Transformer(config, causal=False)
        self.post_norm = nn.LayerNorm(width, config.norm_eps)
        projects = config.projection != "none"
        self.projection = nn.Parameter(torch.empty(width, embed_dim)) if projects else None

    def init_weights(self) -> None:
        """Initialise as in the paper's released code."""
        std = self.transformer.width**-0.5
        self.patch_embedding.init_weights()
        nn.init.normal_(self.class_embedding, std=std)
        nn.init.normal_(self.positional_embedding, std=std)
        if self.projection is not None:
            nn.init.normal_(self.projection, std=std)
        self.transformer.init_weights()

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        patch_indices: Int[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch embed"]:
        return self.project(self.forward_features(images, patch_indices))

    def forward_features(
        self,
        images: Float[Tensor, "batch 3 height width"],
        patch_indices: Int[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch features"]:
        """Compute the class token after the last norm, the input of linear probes (section 3.2)."""
        positions = self.positional_embedding
        patches = self.patch_embedding(images, patch_indices) + select_positions(
            positions[1:], patch_indices
        )
        first = (self.class_embedding + positions[0]).expand(images.shape[0], 1, -1)
        x = self.pre_norm(torch.cat([first, patches], dim=1))
        x = self.transformer.forward_pooled(
            x, torch.zeros(x.shape[0], dtype=torch.long, device=x.device)
        )
        return self.post_norm(x)

    def hidden_states(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> list[Float[Tensor, "batch position features"]]:
        """Return the residual stream before the first block and after each; position 0 is class."""
        patches = self.patch_embedding(images) + self.positional_embedding[1:]
        first = self.class_embedding + self.positional_embedding[0]
        x = torch.cat([first.expand(images.shape[0], 1, -1), patches], dim=1)
        return self.transformer.hidden_states(self.pre_norm(x))

    def forward_patches(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch patch features"]:
        """Compute the patch tokens after the last block and the last norm."""
        return self.post_norm(self.hidden_states(images)[-1][:, 1:])

    def project(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch embed"]:
        """Project features of the tower's width into the shared space."""
        return features if self.projection is None else features @ self.projection


class AttentionPoolingHead(nn.Module):
    """Attention pooling with a learned query over all patches, followed by an MLP."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query = nn.Parameter(torch.empty(width))
        self.query_projection = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.mlp = MLP(width, config.mlp_width, config.activation)

    def init_weights(self) -> None:
        """Initialise with normal weights, scaled by the width."""
        std = self.query.shape[0] ** -0.5
        nn.init.normal_(self.query, std=std)
        for linear in (self.query_projection, self.key_value, self.out):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Float[Tensor, "batch patch width"]) -> Float[Tensor, "batch width"]:
        query = self.query_projection(self.query.expand(x.shape[0], 1, -1))
        key, value = self.key_value(x).chunk(2, dim=-1)
        pooled = F.scaled_dot_product_attention(
            split_heads(query, self.heads),
            split_heads(key, self.heads),
            split_heads(value, self.heads),
        )
        pooled = self.out(pooled.transpose(1, 2).flatten(1))
        return pooled + self.mlp(self.norm(pooled))


class SigLIPVisionTransformer(nn.Module):
    """SigLIP's ViT: patches with a bias and no class token, pooled by attention."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.patch_embedding = PatchEmbedding(config.patch_size, width, bias=True)
        patches = (config.image_size // config.patch_size) ** 2
        self.positional_embedding = nn.Parameter(torch.empty(patches, width))
        self.transformer = Transformer(config, causal=False)
        self.post_norm = nn.LayerNorm(width, config.norm_eps)
        self.pool = AttentionPoolingHead(config)

    def init_weights(self) -> None:
        """Initialise as `VisionTransformer` does."""
        self.patch_embedding.init_weights()
        nn.init.normal_(self.positional_embedding, std=self.transformer.width**-0.5)
        self.transformer.init_weights()
        self.pool.init_weights()

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        patch_indices: Int[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch embed"]:
        x = self.patch_embedding(images, patch_indices) + select_positions(
            self.positional_embedding, patch_indices
        )
        return self.pool(self.post_norm(self.transformer(x)))

    def forward_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch embed"]:
        """Compute the input of linear probes: the embedding, as nothing is projected."""
        return self(images)

    def hidden_states(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> list[Float[Tensor, "batch patch features"]]:
        """Return the residual stream before the first block and after each block."""
        x = self.patch_embedding(images) + self.positional_embedding
        return self.transformer.hidden_states(x)

    def forward_patches(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch patch features"]:
        """Compute the patch tokens after the last block and the last norm."""
        return self.post_norm(self.hidden_states(images)[-1])
