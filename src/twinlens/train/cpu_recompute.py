"""CPU training with less memory traffic: plain attention and recomputed activations.

Applied from outside, like parallelism: results are the same to rounding, and `forward` of the model
stays plain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from twinlens.model.layers import MLP, Attention, QuickGELU, TransformerBlock, attention_weights


def optimise_for_cpu(towers: nn.Module, *, recompute: bool) -> None:
    """Replace attention by plain products and recompute activations in the backward pass.

    Args:
        towers: On the CPU.
        recompute: Recompute activations; not needed if whole blocks are recomputed (see
            `checkpoint_activations`).
    """
    for module in towers.modules():
        if isinstance(module, Attention):
            module.attention_fn = plain_attention
        if recompute and isinstance(module, TransformerBlock):
            module.forward = partial(_block_forward, module)
            module.mlp.forward = partial(_mlp_forward, module.mlp)


def _block_forward(block: TransformerBlock, x: Tensor, positions: Tensor | None = None) -> Tensor:
    """`TransformerBlock.forward` that stores the inputs of its norms and not their outputs."""
    mixed = _apply_to_normed(
        block.attention_norm, x, lambda normed: block.attention(normed, positions)
    )
    x = (x if positions is None else x[torch.arange(len(x)), positions].unsqueeze(1)) + mixed
    return x + _apply_to_normed(block.mlp_norm, x, block.mlp)


def _apply_to_normed(norm: nn.Module, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    normed = norm(x)
    with recompute_on_backward(normed, lambda: norm(x.detach())):
        return function(normed)


def _mlp_forward(mlp: MLP, x: Tensor) -> Tensor:
    """`MLP.forward` that stores the input of its activation and not the output."""
    h = mlp.expand(x)
    if isinstance(mlp.activation, QuickGELU):
        active, scaled = _QuickGELUFunction.apply(h)  # pyright: ignore[reportGeneralTypeIssues]
        with recompute_on_backward(active, lambda: _quick_gelu_from_scaled(scaled)):
            return mlp.contract(active)
    active = mlp.activation(h)
    with recompute_on_backward(active, lambda: mlp.activation(h.detach())):
        return mlp.contract(active)


def recompute_on_backward(
    tensor: Tensor, recompute: Callable[[], Tensor]
) -> torch.autograd.graph.saved_tensors_hooks:
    """Make autograd recompute this tensor in the backward pass instead of storing it."""
    address = tensor.data_ptr()  # not the tensor: hooks keep alive what they refer to

    def pack(saved: Tensor) -> Tensor | torch.Size:
        return saved.shape if saved.data_ptr() == address else saved

    def unpack(packed: Tensor | torch.Size) -> Tensor:
        return packed if isinstance(packed, Tensor) else recompute().view(packed)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


_QUICK_GELU_SLOPE = 1.702
_CACHE_ELEMENTS = 2**18
"""Elements that fit a core's cache, so that several passes read memory once."""


_Tensors = tuple[Tensor, ...]


class _QuickGELUFunction(Function):
    """QuickGELU that also returns z = 1.702 x, from which value and gradient take one pass each.

    QuickGELU is silu(z) / 1.702, and its derivative silu'(z).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> _Tensors:
        scaled, active = torch.empty_like(x), torch.empty_like(x)
        for rows, z, out in _cache_sized_chunks(x, scaled, active):
            torch.mul(rows, _QUICK_GELU_SLOPE, out=z)
            torch.ops.aten.silu.out(z, out=out)
            out.mul_(1 / _QUICK_GELU_SLOPE)
        ctx.save_for_backward(scaled)
        ctx.mark_non_differentiable(scaled)
        ctx.set_materialize_grads(False)  # no zeros for the output without a gradient
        return active, scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> Tensor | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if gradient is None:
            return None
        return torch.ops.aten.silu_backward(gradient, *ctx.saved_tensors)


def _quick_gelu_from_scaled(scaled: Tensor) -> Tensor:
    active = torch.empty_like(scaled)
    for z, out in _cache_sized_chunks(scaled, active):
        torch.ops.aten.silu.out(z, out=out)
        out.mul_(1 / _QUICK_GELU_SLOPE)
    return active


def _cache_sized_chunks(*tensors: Tensor) -> Iterator[_Tensors]:
    """Split tensors of one shape into chunks that fit the cache."""
    return zip(*(tensor.view(-1).split(_CACHE_ELEMENTS) for tensor in tensors), strict=True)


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool = False
) -> Tensor:
    """`scaled_dot_product_attention` for short sequences, as plain matrix products.

    With few similarities, six passes over them cost less than the fused kernel's overhead;
    queries, keys and values are stored in the layout of their projection.

    Args:
        query: [batch, head, length, width].
        key: The same.
        value: The same.
        is_causal: True if positions do not attend to later ones.
    """
    return _PlainAttentionFunction.apply(query, key, value, is_causal)  # pyright: ignore[reportReturnType]


class _PlainAttentionFunction(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
        shares = attention_weights(query, key, is_causal=causal)
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
