"""The paper's ResNet: a three-convolution stem, anti-aliased strides, attention pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twinlens.model.layers import split_heads

if TYPE_CHECKING:
    from twinlens.config import ResNetConfig


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
) -> nn.Sequential:
    """Build a convolution without bias, followed by batch normalisation."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


class Stem(nn.Module):
    """Three 3x3 convolutions and an average pool: a quarter of the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv_bn(3, width // 2, 3, stride=2)
        self.conv2 = conv_bn(width // 2, width // 2, 3)
        self.conv3 = conv_bn(width // 2, width, 3)

    def forward(
        self, x: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        for layer in (self.conv1, self.conv2, self.conv3):
            x = F.relu(layer(x))
        return F.avg_pool2d(x, 2)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a residual.

    Every stride is an average pool before a convolution of stride 1, which avoids aliasing.
    """

    EXPANSION = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.EXPANSION
        self.reduce = conv_bn(in_channels, width, 1)
        self.mix = conv_bn(width, width, 3)
        self.expand = conv_bn(width, out_channels, 1)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.shortcut = (
            nn.Sequential(self.pool, conv_bn(in_channels, out_channels, 1))
            if stride > 1 or in_channels != out_channels
            else nn.Identity()
        )

    def forward(
        self, x: Float[Tensor, "batch inputs height width"]
    ) -> Float[Tensor, "batch outputs rows columns"]:
        h = F.relu(self.reduce(x))
        h = self.pool(F.relu(self.mix(h)))
        return F.relu(self.expand(h) + self.shortcut(x))


class AttentionPool(nn.Module):
    """Attention pooling: the mean of all positions is the query of one round of attention."""

    def __init__(self, num_positions: int, width: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.empty(num_positions + 1, width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, embed_dim)

    def init_weights(self) -> None:
        """Initialise with normal weights, scaled by the width."""
        std = self.query.in_features**-0.5
        nn.init.normal_(self.positional_embedding, std=std)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(
        self, x: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch embed"]:
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding
        query, key, value = (
            split_heads(projected, self.heads)
            for projected in (self.query(x[:, :1]), self.key(x), self.value(x))
        )
        pooled = F.scaled_dot_product_attention(query, key, value)
        return self.out(pooled.transpose(1, 2).flatten(1))


class ModifiedResNet(nn.Module):
    """ResNet-D with the paper's changes (section 2.4)."""

    def __init__(self, config: ResNetConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.image_size = config.image_size
        self.stem = Stem(width)
        channels = width
        stages: list[nn.Sequential] = []
        for i, depth in enumerate(config.layers):
            stage_width = width * 2**i
            blocks = [Bottleneck(channels, stage_width, stride=1 if i == 0 else 2)]
            channels = stage_width * Bottleneck.EXPANSION
            blocks += [Bottleneck(channels, stage_width, stride=1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        positions = (config.image_size // 32) ** 2
        self.attention_pool = AttentionPool(positions, channels, config.heads, embed_dim)

    def init_weights(self) -> None:
        """Initialise; each bottleneck starts as the identity, with its last gain at zero."""
        self.attention_pool.init_weights()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, Bottleneck):
                last_norm = module.expand[1]
                assert isinstance(last_norm, nn.BatchNorm2d)
                nn.init.zeros_(last_norm.weight)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch embed"]:
        return self.attention_pool(self._grid(images))

    def forward_patches(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch patch features"]:
        """Compute the features of each 32 x 32 pixels, before they are pooled."""
        return self._grid(images).flatten(2).transpose(1, 2)

    def _grid(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return x
