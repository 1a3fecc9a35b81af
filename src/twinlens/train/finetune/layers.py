"""Layers of the towers: locking, layer-wise learning rates and weight interpolation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from twinlens.checkpoints.mismatch import describe_mismatch
from twinlens.errors import CheckpointError, require
from twinlens.model.clip import CLIP
from twinlens.model.resnet import ModifiedResNet

if TYPE_CHECKING:
    from twinlens.train.recipes.adapt import AdaptConfig


_TOWER_NAMES = ("image_tower", "text_tower")
_EMBEDDING_MODULES = (
    "patch_embedding", "class_embedding", "token_embedding", "positional_embedding", "pre_norm",
    "stem",
)  # fmt: skip


def layer_indices(model: CLIP, tower: str) -> tuple[dict[str, int], int]:
    """The layer index of each parameter of a tower, and the last index.

    0 is the input embedding, then come the blocks, and last the layers after them.
    """
    module = getattr(model, tower)
    starts = _block_prefixes(module)
    last = len(starts) + 1
    layers: dict[str, int] = {}
    for name, _ in module.named_parameters():
        block = next((i for i, start in enumerate(starts, 1) if name.startswith(start)), None)
        outside = 0 if name.partition(".")[0] in _EMBEDDING_MODULES else last
        layers[f"{tower}.{name}"] = outside if block is None else block
    return layers, last


def _block_prefixes(tower: nn.Module) -> list[str]:
    """Prefix of the parameter names of each block, from the input on."""
    if isinstance(tower, ModifiedResNet):
        depths = [len(list(stage.children())) for stage in tower.stages]
        return [f"stages.{i}.{j}." for i, depth in enumerate(depths) for j in range(depth)]
    blocks = tower.get_submodule("transformer.blocks")
    return [f"transformer.blocks.{i}." for i in range(len(list(blocks.children())))]


def lock_layers(model: CLIP, adapt: AdaptConfig) -> None:
    """Disable the gradients of all parameters that are not trained.

    Raises:
        ConfigError: More blocks are unlocked than the tower has.
    """
    for tower in _TOWER_NAMES:
        layers, last = layer_indices(model, tower)
        first = first_trainable_layer(adapt, tower, last)
        for name, layer in layers.items():
            if layer < first:
                model.get_parameter(name).requires_grad_(False)


def first_trainable_layer(adapt: AdaptConfig, tower: str, last_layer: int) -> int:
    """Index of the first layer of a tower that is trained; `last_layer` + 1 if none is.

    Raises:
        ConfigError: More blocks are unlocked than the tower has.
    """
    setting = f"unlocked_{tower.removesuffix('_tower')}_layers"
    unlocked: int | None = getattr(adapt, setting)
    if tower == "text_tower" and adapt.head != "none":
        unlocked = 0  # a classifier reads no text
    if unlocked is None:
        return 0
    require(
        unlocked < last_layer,
        f"adapt.{setting}",
        unlocked,
        f"at most the {last_layer - 1} blocks there are",
    )
    return last_layer - unlocked if unlocked else last_layer + 1


def set_train_mode(model: CLIP) -> None:
    """Set training mode, except for locked batch norms, whose statistics must not change."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()


def layer_lr_scales(model: CLIP, adapt: AdaptConfig) -> dict[str, float]:
    """Learning rate factor of each tower parameter; 1 for the layers after the blocks."""
    scales: dict[str, float] = {}
    for tower in _TOWER_NAMES:
        layers, last = layer_indices(model, tower)
        scales |= {name: adapt.layer_decay ** (last - layer) for name, layer in layers.items()}
    return scales


def interpolate_weights(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], weight: float
) -> dict[str, Tensor]:
    """Interpolate weights linearly from `start` (0) to `end` (1) in float32 (WiSE-FT).

    Tensors that are not floating-point are taken from `end`.

    Raises:
        CheckpointError: Names or shapes differ.
        ConfigError: The weight is not between 0 and 1.
    """
    require(0 <= weight <= 1, "weight", weight, "within [0, 1]")
    found = describe_mismatch(
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
        # Exact at both ends, and for equal weights.
        name: torch.lerp(start[name].float(), value.float(), weight)
        if value.is_floating_point()
        else value
        for name, value in end.items()
    }
