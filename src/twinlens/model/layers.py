"""The transformer both towers share: attention, MLP, residual blocks.

`Transformer.forward` is plain: precision, compilation and parallelism are applied from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

    from twinlens.config import Activation


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x): the approximation OpenAI's weights were trained with.

    Weights trained with one activation are silently worse under the other, so the choice is a
    field of the configuration and never a default of the code.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def activation_module(name: Activation) -> nn.Module:
    """The activation that a configuration names."""
    return QuickGELU() if name == "quick_gelu" else nn.GELU()


class Attention(nn.Module):
    """Multi-head self-attention with one matrix product for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch length width"]
    ) -> Float[Tensor, "batch length width"]:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        # [3, batch, heads, length, head width]: the layout that the fused kernels want.
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    """Two linear layers, four times as wide in between."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 4 * width)
        self.activation = activation_module(activation)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(self.activation(self.expand(x)))


class Block(nn.Module):
    """A pre-norm residual block."""

    def __init__(self, width: int, heads: int, activation: Activation, *, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = MLP(width, activation)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    """A stack of blocks, initialised as in the paper's released code."""

    def __init__(
        self, width: int, layers: int, heads: int, activation: Activation, *, causal: bool
    ) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(
            Block(width, heads, activation, causal=causal) for _ in range(layers)
        )

    def init_weights(self) -> None:
        """Normal weights; what adds to the residual stream is damped by its depth."""
        residual_std = self.width**-0.5 * (2 * len(self.blocks)) ** -0.5
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.normal_(block.attention.qkv.weight, std=self.width**-0.5)
            nn.init.normal_(block.attention.out.weight, std=residual_std)
            nn.init.normal_(block.mlp.expand.weight, std=(2 * self.width) ** -0.5)
            nn.init.normal_(block.mlp.contract.weight, std=residual_std)
            for linear in (
                block.attention.qkv,
                block.attention.out,
                block.mlp.expand,
                block.mlp.contract,
            ):
                nn.init.zeros_(linear.bias)

    def forward(
        self, x: Float[Tensor, "batch length width"]
    ) -> Float[Tensor, "batch length width"]:
        for block in self.blocks:
            x = block(x)
        return x
