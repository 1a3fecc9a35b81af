"""Linear layers in 8 bits: for CPUs without fast bf16, and to save memory.

Weights are symmetric integers with a scale for each output. With activations in 8 bits too, each
row has its own scale, computed at run time: one token's outliers do not coarsen the others.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor, nn

from twinlens.errors import ConfigError
from twinlens.model.layers import QuickGELU, TransformerBlock, fold_quick_gelu_scale
from twinlens.types import Precision

_INT8_MAX = 127.0

_INPUT_MULTIPLE = 16
"""Divisor of the input width: torch's weight-only kernel reads out of bounds at others."""


class Int8Linear(nn.Module):
    """A linear layer as a product of integers (weights and activations in 8 bits)."""

    weight: Int8[Tensor, "inputs outputs"]
    scale: Float32[Tensor, " outputs"]

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = _quantise_rows(linear.weight)
        self.register_buffer("weight", weight.t().contiguous())
        self.register_buffer("scale", scale[:, 0])
        self.bias = linear.bias

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        _require_no_grad(x)
        rows, scale = _quantise_rows(x.flatten(0, -2))
        product = torch.ops.aten._int_mm(rows, self.weight).float()
        answer = product.mul_(scale).mul_(self.scale).add_(self.bias)
        return answer.to(x.dtype).unflatten(0, x.shape[:-1])


class Int8WeightOnlyLinear(nn.Module):
    """A linear layer with weights in 8 bits and activations in bf16: half of bf16's memory.

    The kernel needs activations in bf16.
    """

    weight: Int8[Tensor, "outputs inputs"]
    scale: Float[Tensor, " outputs"]

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = _quantise_rows(linear.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale[:, 0].bfloat16())
        self.bias = linear.bias

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        _require_no_grad(x)
        rows = x.flatten(0, -2).bfloat16()
        product = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
        return (product + self.bias).to(x.dtype).unflatten(0, x.shape[:-1])


@torch.no_grad()
def quantise_int8(tower: nn.Module, *, quantise_activations: bool) -> None:
    """Quantise the linear layers of a tower's transformer blocks to 8 bits, in place.

    Pooling heads are not quantised: they are a small part of the work, and their errors would
    affect the whole feature. Nor are layers whose input width is not a multiple of 16.

    Args:
        tower: A tower on the CPU.
        quantise_activations: Quantise the inputs of the products as well.
    """
    kind = Int8Linear if quantise_activations else Int8WeightOnlyLinear
    blocks = [block for block in tower.modules() if isinstance(block, TransformerBlock)]
    for block in blocks:
        if isinstance(block.mlp.activation, QuickGELU):
            block.mlp.expand, block.mlp.contract = fold_quick_gelu_scale(block.mlp)
            block.mlp.activation = nn.SiLU(inplace=True)
        for layer in (block.attention, block.mlp):
            for name, linear in layer.named_children():
                if isinstance(linear, nn.Linear) and linear.in_features % _INPUT_MULTIPLE == 0:
                    setattr(layer, name, kind(linear))


def _require_no_grad(x: Tensor) -> None:
    if torch.is_grad_enabled() and x.requires_grad:
        raise ConfigError("gradients: got a model in 8 bits, expected fp32, bf16 or fp16 to train")


def int8_precision(module: nn.Module) -> Precision | None:
    """The precision that `quantise_int8` gave the module; None if it is not quantised."""
    kinds: dict[type, Precision] = {Int8Linear: "int8", Int8WeightOnlyLinear: "int8-weights"}
    return next((kinds[type(child)] for child in module.modules() if type(child) in kinds), None)


def _quantise_rows(
    x: Float[Tensor, "row column"],
) -> tuple[Int8[Tensor, "row column"], Float32[Tensor, "row 1"]]:
    """Quantise each row with its own scale: x is about integers * scale."""
    x = x.float()
    scale = x.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12) / _INT8_MAX
    return (x / scale).round_().to(torch.int8), scale
