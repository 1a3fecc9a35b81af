"""The transformer of both towers: attention, MLP, residual blocks.

`Transformer.forward` is plain: precision, compilation and parallelism are applied from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from twinlens.config import Activation, TextConfig, ViTConfig


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x): the approximation that OpenAI's weights were trained with.

    Weights trained with one activation are silently worse under the other, so the choice is a
    field of the configuration and never a default of the code.
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        # torch's SiLU is x sigmoid(x): one pass over memory, and only x is kept for the gradient.
        return F.silu(1.702 * x).mul_(1 / 1.702)


def build_activation(name: Activation) -> nn.Module:
    """Build the activation that a configuration names."""
    if name == "quick_gelu":
        return QuickGELU()
    return nn.GELU(approximate="tanh" if name == "gelu_tanh" else "none")


class Attention(nn.Module):
    """Multi-head self-attention with one matrix product for queries, keys and values."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.attention_fn: Callable[..., Tensor] = F.scaled_dot_product_attention
        """The attention kernel; training on CPUs and packed models replace it."""
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch length width"], positions: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch asked width"]:
        """Compute the output at every position, or at one position of each row."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        # [3, batch, heads, length, head width]: the layout of the fused kernels.
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if positions is None:
            mixed = self.attention_fn(query, key, value, is_causal=self.causal)
        else:
            query = query[torch.arange(batch, device=x.device), :, positions].unsqueeze(2)
            seen = (
                torch.arange(length, device=x.device) <= positions[:, None] if self.causal else None
            )
            mask = None if seen is None else seen[:, None, None]
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


def attention_weights(
    query: Float[Tensor, "batch head length width"],
    key: Float[Tensor, "batch head length width"],
    *,
    is_causal: bool,
) -> Float[Tensor, "batch head length length"]:
    """Compute the attention weights of each query by plain products: rows sum to 1."""
    scores = (query @ key.transpose(-2, -1)).mul_(query.shape[-1] ** -0.5)
    if is_causal:
        scores += torch.full_like(scores[0, 0], -torch.inf).triu_(1)
    # bf16 in float32: more exact, and twice as fast on CPUs.
    dtype = torch.promote_types(scores.dtype, torch.float32)
    return scores.softmax(dim=-1, dtype=dtype).to(scores.dtype)


def split_heads(
    x: Float[Tensor, "batch length width"], heads: int
) -> Float[Tensor, "batch head length head_width"]:
    """Split the width into attention heads, and put the heads before the positions."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers with an activation; four times as wide in between unless given."""

    def __init__(self, width: int, mlp_width: int | None, activation: Activation) -> None:
        super().__init__()
        self.expand = nn.Linear(width, mlp_width or 4 * width)
        self.activation = build_activation(activation)
        self.contract = nn.Linear(mlp_width or 4 * width, width)

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        return self.contract(self.activation(self.expand(x)))


def fold_quick_gelu_scale(mlp: MLP) -> tuple[nn.Linear, nn.Linear]:
    """Fold QuickGELU's scale into the layers of an MLP, so that SiLU can replace it.

    x sigmoid(1.702 x) is silu(1.702 x) / 1.702, and SiLU is one pass over memory.
    """
    expand = frozen_linear(mlp.expand.weight * 1.702, mlp.expand.bias * 1.702)
    return expand, frozen_linear(mlp.contract.weight / 1.702, mlp.contract.bias)


def frozen_linear(
    weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, " outputs"] | None
) -> nn.Linear:
    """Build a linear layer for inference only, with these weights."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear


class TransformerBlock(nn.Module):
    """A pre-norm residual block."""

    def __init__(self, config: ViTConfig | TextConfig, *, causal: bool) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.LayerNorm(width, config.norm_eps)
        self.attention = Attention(width, config.heads, causal=causal)
        self.mlp_norm = nn.LayerNorm(width, config.norm_eps)
        self.mlp = MLP(width, config.mlp_width, config.activation)

    def forward(
        self, x: Float[Tensor, "batch length width"], positions: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch asked width"]:
        mixed = self.attention(self.attention_norm(x), positions)
        if positions is not None:
            x = x[torch.arange(x.shape[0], device=x.device), positions].unsqueeze(1)
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    """A stack of blocks, initialised as in the paper's released code."""

    def __init__(self, config: ViTConfig | TextConfig, *, causal: bool) -> None:
        super().__init__()
        self.width = config.width
        self.blocks = nn.ModuleList(
            TransformerBlock(config, causal=causal) for _ in range(config.layers)
        )

    def init_weights(self) -> None:
        """Initialise with normal weights, smaller with depth where they add to the residuals."""
        residual_std = self.width**-0.5 * (2 * len(self.blocks)) ** -0.5
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
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

    def forward_pooled(
        self, x: Float[Tensor, "batch length width"], positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch width"]:
        """Compute the output of `forward` at one position of each row.

        The last block computes only keys and values of the other positions, as nothing after it
        reads them. With twelve blocks that saves a sixteenth.
        """
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        return last(x, positions).squeeze(1)

    def hidden_states(
        self, x: Float[Tensor, "batch length width"]
    ) -> list[Float[Tensor, "batch length width"]]:
        """Return the residual stream before the first block and after each block."""
        states = [x]
        for block in self.blocks:
            states.append(block(states[-1]))
        return states
