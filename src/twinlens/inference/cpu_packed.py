"""Towers laid out to answer fast: weights as the processor's kernels want them.

Applied from outside, like `train.cpu_recompute`: a twin of the tower computes the same, to
rounding, and the tower itself stays plain for those who train, save or look at it.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from twinlens.model.clip import ImageTower
from twinlens.model.layers import (
    MLP,
    Attention,
    QuickGELU,
    attention_weights,
    fold_quick_gelu_scale,
    frozen_linear,
)
from twinlens.model.text import TextTransformer
from twinlens.model.vision import PatchEmbedding

Tower: TypeAlias = ImageTower | TextTransformer
FusedActivation = Literal["none", "swish", "gelu"]

_MAX_PLAIN_LENGTH = 64
"""Positions up to which plain products are faster, in bf16; in float32 they never are."""

TUNED_ROWS = 1600
"""Rows of the products that the layout is chosen for; fewer or more are computed all the same."""


def pack_for_inference(tower: Tower) -> Tower:
    """A twin of a tower for answers without gradients.

    It shares everything with the tower but the weights of its products, which it holds laid out
    for the processor, activations joined to the products before them; convolutions take in the
    batch norms behind them. On another device than the processor only the latter is done.
    """
    shared: dict[int, Tensor] = {id(t): t for t in (*tower.parameters(), *tower.buffers())}
    twin = copy.deepcopy(tower, shared).eval()
    with torch.no_grad():
        for module in twin.modules():
            _fuse_conv_bn(module)
        if can_pack(next(tower.parameters())):
            _pack_module(twin)
    return twin


def weights_fingerprint(tower: Tower) -> list[object]:
    """A fingerprint that changes with a tower's weights: a packed copy of before has the old ones.

    Tensors that are replaced lie elsewhere, and torch counts changes in place; fused optimisers go
    uncounted, hence one value of each, where reading it waits for no other device.
    """
    state: list[object] = []
    for tensor in (*tower.parameters(), *tower.buffers()):
        state += [tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version]
        if tensor.device.type == "cpu" and tensor.numel():
            state.append(tensor[(-1,) * tensor.ndim].item())
    return state


def can_pack(weight: Tensor) -> bool:
    """True if there are kernels here that want weights like this one laid out their way."""
    if weight.device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    in_bf16 = weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return in_bf16 or weight.dtype == torch.float32


class PackedLinear(nn.Module):
    """A linear layer with its weight laid out for the processor, and an activation in one pass."""

    def __init__(
        self, linear: nn.Linear, activation: FusedActivation = "none", algorithm: str = ""
    ) -> None:
        super().__init__()
        self.activation = activation
        self.algorithm = algorithm
        self.weight = torch.ops.mkldnn._reorder_linear_weight(
            linear.weight.contiguous(), TUNED_ROWS
        )
        self.bias = linear.bias

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        return torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, self.activation, [], self.algorithm
        )


def short_attention(
    query: Float[Tensor, "batch head length width"],
    key: Float[Tensor, "batch head length width"],
    value: Float[Tensor, "batch head length width"],
    *,
    is_causal: bool = False,
) -> Float[Tensor, "batch head length width"]:
    """Attention as plain products where rows are short: less than a fused kernel's bookkeeping."""
    if query.shape[2] > _MAX_PLAIN_LENGTH:
        return F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
    return attention_weights(query, key, is_causal=is_causal) @ value


def _pack_module(module: nn.Module) -> None:
    if isinstance(module, Attention) and module.qkv.weight.dtype == torch.bfloat16:
        module.attention_fn = short_attention
    if isinstance(module, PatchEmbedding):
        module.linear_fn = _packed_patch_linear(module)
    if isinstance(module, MLP) and type(module.expand) is nn.Linear:
        for name, part in _fuse_activation(module).items():
            setattr(module, name, part)
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child))
        else:
            _pack_module(child)


def _fuse_activation(mlp: MLP) -> dict[str, nn.Module]:
    """The parts of an MLP with the activation in its first product."""
    activation = mlp.activation
    if isinstance(activation, QuickGELU):
        expand, contract = fold_quick_gelu_scale(mlp)
        joined = PackedLinear(expand, "swish")
        return {"expand": joined, "activation": nn.Identity(), "contract": contract}
    assert isinstance(activation, nn.GELU)
    joined = PackedLinear(mlp.expand, "gelu", activation.approximate)
    return {"expand": joined, "activation": nn.Identity()}


def _packed_patch_linear(embedding: PatchEmbedding) -> Callable[..., Tensor]:
    layer = PackedLinear(frozen_linear(embedding.weight, embedding.bias))

    def product(patches: Tensor, *_: object) -> Tensor:
        return layer(patches)

    return product


def _fuse_conv_bn(module: nn.Module) -> None:
    """Batch norms that only answer are a scale and a shift: the convolution's own."""
    if not isinstance(module, nn.Sequential) or len(module) != 2:
        return
    convolution, norm = module
    if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        module[0] = fuse_conv_bn_eval(convolution, norm)
        module[1] = nn.Identity()
