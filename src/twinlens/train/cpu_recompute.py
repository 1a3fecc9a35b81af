"""Towers that train on processors with less memory and fewer passes over it.

Applied from outside, like parallelism: what comes out is the same to rounding, and `forward` stays
plain for everyone else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from twinlens.model.layers import MLP, Attention, Block, QuickGELU, attention_shares


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
        if recompute and isinstance(module, Block):
            module.forward = partial(_block, module)
            module.mlp.forward = partial(_mlp, module.mlp)


def _block(block: Block, x: Tensor, at: Tensor | None = None) -> Tensor:
    """`Block.forward` that keeps what goes into its norms, and not what comes out."""
    mixed = _of_normed(block.attention_norm, x, lambda normed: block.attention(normed, at))
    x = (x if at is None else x[torch.arange(len(x)), at].unsqueeze(1)) + mixed
    return x + _of_normed(block.mlp_norm, x, block.mlp)


def _of_normed(norm: nn.Module, x: Tensor, use: Callable[[Tensor], Tensor]) -> Tensor:
    normed = norm(x)
    with made_again(normed, lambda: norm(x.detach())):
        return use(normed)


def _mlp(mlp: MLP, x: Tensor) -> Tensor:
    """`MLP.forward` that keeps what goes into its activation, and not what comes out."""
    h = mlp.expand(x)
    if isinstance(mlp.activation, QuickGELU):
        active, scaled = _QuickGELU.apply(h)  # pyright: ignore[reportGeneralTypeIssues]
        with made_again(active, lambda: _gelu_of(scaled)):
            return mlp.contract(active)
    active = mlp.activation(h)
    with made_again(active, lambda: mlp.activation(h.detach())):
        return mlp.contract(active)


def made_again(
    tensor: Tensor, again: Callable[[], Tensor]
) -> torch.autograd.graph.saved_tensors_hooks:
    """Within, autograd does not keep this tensor but makes it again for the gradient."""
    place = tensor.data_ptr()  # not the tensor: what a hook knows lives as long as the gradient

    def pack(saved: Tensor) -> Tensor | torch.Size:
        return saved.shape if saved.data_ptr() == place else saved

    def unpack(packed: Tensor | torch.Size) -> Tensor:
        return packed if isinstance(packed, Tensor) else again().view(packed)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


_SLOPE = 1.702
_ROWS = 2**18
"""Numbers that fit a core's cache: several passes over them are one over memory."""


_Tensors = tuple[Tensor, ...]


class _QuickGELU(Function):
    """QuickGELU and 1.702 x, of which both its value and its gradient are one pass away.

    With z = 1.702 x it is silu(z) / 1.702, and its slope is silu'(z).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> _Tensors:
        scaled, active = torch.empty_like(x), torch.empty_like(x)
        for rows, z, out in _in_cache(x, scaled, active):
            torch.mul(rows, _SLOPE, out=z)
            torch.ops.aten.silu.out(z, out=out)
            out.mul_(1 / _SLOPE)
        ctx.save_for_backward(scaled)
        ctx.mark_non_differentiable(scaled)
        ctx.set_materialize_grads(False)  # no zeros for the one that has no gradient
        return active, scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if gradient is None:
            return None
        return torch.ops.aten.silu_backward(gradient, *ctx.saved_tensors)


def _gelu_of(scaled: Tensor) -> Tensor:
    active = torch.empty_like(scaled)
    for z, out in _in_cache(scaled, active):
        torch.ops.aten.silu.out(z, out=out)
        out.mul_(1 / _SLOPE)
    return active


def _in_cache(*tensors: Tensor) -> Iterator[_Tensors]:
    """Tensors of one shape, a cacheful at a time."""
    return zip(*(tensor.view(-1).split(_ROWS) for tensor in tensors), strict=True)


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
        shares = attention_shares(query, key, is_causal=causal)
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
