"""Layers of the towers: locked, trained at rates of their own, interpolated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from twinlens.checkpoints.mismatch import differences
from twinlens.errors import CheckpointError, ConfigError
from twinlens.model.clip import CLIP
from twinlens.model.resnet import ModifiedResNet

if TYPE_CHECKING:
    from twinlens.train.recipes.adapt import Adapt


_TOWERS = ("image_tower", "text_tower")
_INPUTS = (
    "patch_embedding", "class_embedding", "token_embedding", "positional_embedding", "pre_norm",
    "stem",
)  # fmt: skip


def layers_of(model: CLIP, tower: str) -> tuple[dict[str, int], int]:
    """The layer of each parameter of a tower, and the number of its last one.

    0 is what embeds the input, then come the blocks, and last what is behind them.
    """
    module = getattr(model, tower)
    starts = _block_names(module)
    last = len(starts) + 1
    layers: dict[str, int] = {}
    for name, _ in module.named_parameters():
        block = next((i for i, start in enumerate(starts, 1) if name.startswith(start)), None)
        behind = 0 if name.partition(".")[0] in _INPUTS else last
        layers[f"{tower}.{name}"] = behind if block is None else block
    return layers, last


def _block_names(tower: nn.Module) -> list[str]:
    """What the names of each block's parameters begin with, from the input on."""
    if isinstance(tower, ModifiedResNet):
        depths = [len(list(stage.children())) for stage in tower.stages]
        return [f"stages.{i}.{j}." for i, depth in enumerate(depths) for j in range(depth)]
    blocks = tower.get_submodule("transformer.blocks")
    return [f"transformer.blocks.{i}." for i in range(len(list(blocks.children())))]


def lock(model: CLIP, adapt: Adapt) -> None:
    """Take the gradients from all that is not to be trained.

    Raises:
        ConfigError: More blocks are to be trained than there are.
    """
    for tower in _TOWERS:
        layers, last = layers_of(model, tower)
        first = first_trained(adapt, tower, last)
        for name, layer in layers.items():
            if layer < first:
                model.get_parameter(name).requires_grad_(False)


def first_trained(adapt: Adapt, tower: str, last: int) -> int:
    """The first layer of a tower that is trained, of those up to `last`; beyond it, none is.

    Raises:
        ConfigError: More blocks are to be trained than there are.
    """
    setting = f"unlocked_{tower.removesuffix('_tower')}_layers"
    unlocked: int | None = getattr(adapt, setting)
    if tower == "text_tower" and adapt.head != "none":
        unlocked = 0  # a classifier reads no text
    if unlocked is None:
        return 0
    if unlocked >= last:
        raise ConfigError(
            f"adapt.{setting}: got {unlocked}, expected at most the {last - 1} blocks there are"
        )
    return last - unlocked if unlocked else last + 1


def set_train_mode(model: CLIP) -> None:
    """Training mode, but for batch norms that are locked: their statistics stay as they are."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def lr_scales(model: CLIP, adapt: Adapt) -> dict[str, float]:
    """Each tower parameter's share of the learning rate: what is behind the blocks has all."""
    scales: dict[str, float] = {}
    for tower in _TOWERS:
        layers, last = layers_of(model, tower)
        scales |= {name: adapt.layer_decay ** (last - layer) for name, layer in layers.items()}
    return scales


def interpolate(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], weight: float
) -> dict[str, Tensor]:
    """Weights on the line from `start` (0) to `end` (1), in float32 (WiSE-FT).

    What is no floating-point number is taken from `end`.

    Raises:
        CheckpointError: Names or shapes differ.
        ConfigError: The weight is not between 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight: got {weight}, expected within [0, 1]")
    found = differences(
        missing=[name for name in start if name not in end],
        unexpected=[name for name in end if name not in start],
        shapes={
            name: (end[name].shape, value.shape)
            for name, value in start.items()
            if name in end and end[name].shape != value.shape
        },
    )
    if found:
        raise CheckpointError(f"interpolation: got two different models: {found}")
    return {
        # Exact at both ends, and where they are equal.
        name: torch.lerp(start[name].float(), value.float(), weight)
        if value.is_floating_point()
        else value
        for name, value in end.items()
    }
