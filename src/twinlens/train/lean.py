"""Towers that train on processors with less memory and fewer passes over it.

Applied from outside, like parallelism: what comes out is the same to rounding, and `forward` stays
plain for everyone else.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from twinlens.model.layers import MLP, Attention


def make_lean(towers: nn.Module, *, recompute: bool) -> None:
    """Attention as plain products, and activations that are made again instead of kept.

    Args:
        towers: On the processor.
        recompute: Whether to make activations again; not where whole blocks are (see
            `checkpoint_activations`).
    """
    for module in towers.modules():
        if isinstance(module, Attention):
            module.attend = plain_attention
        if isinstance(module, MLP) and recompute:
            module.forward = partial(_mlp, module)


def _mlp(mlp: MLP, x: Tensor) -> Tensor:
    """`MLP.forward` that keeps what goes into its activation, and not what comes out."""
    h = mlp.expand(x)
    active = mlp.activation(h)
    place = active.data_ptr()  # not the tensor: what a hook knows lives as long as the gradient

    def pack(saved: Tensor) -> Tensor | torch.Size:
        return saved.shape if saved.data_ptr() == place else saved

    def unpack(packed: Tensor | torch.Size) -> Tensor:
        return packed if isinstance(packed, Tensor) else mlp.activation(h.detach()).view(packed)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return mlp.contract(active)


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool = False
) -> Tensor:
    """`scaled_dot_product_attention` for short sequences: the products themselves.

    Half a dozen passes over the similarities cost less than the fused kernel's bookkeeping as
    long as there are few of them; queries, keys and values are kept as they lie in their product.

    Args:
        query: [batch, head, length, width].
        key: The same.
        value: The same.
        is_causal: Whether no position sees what follows it.
    """
    return _PlainAttention.apply(query, key, value, is_causal)  # pyright: ignore[reportReturnType]


class _PlainAttention(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
        scale = query.shape[-1] ** -0.5
        scores = (query @ key.transpose(-2, -1)).mul_(scale)
        if causal:
            scores += _future(scores)
        shares = torch.softmax(scores, dim=-1)
        ctx.save_for_backward(query, key, value, shares)
        return shares @ value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, shares = ctx.saved_tensors
        scale = query.shape[-1] ** -0.5
        of_value = shares.transpose(-2, -1) @ gradient
        of_shares = gradient @ value.transpose(-2, -1)
        inner = (of_shares * shares).sum(dim=-1, keepdim=True)
        of_scores = of_shares.sub_(inner).mul_(shares).mul_(scale)
        return of_scores @ key, of_scores.transpose(-2, -1) @ query, of_value, None


def _future(scores: Tensor) -> Tensor:
    """Minus infinity above the diagonal, nothing elsewhere."""
    length = scores.shape[-1]
    return torch.full((length, length), float("-inf"), dtype=scores.dtype).triu_(1)
