"""LoRA adapters (Hu et al. 2022) by `peft`: inserted before training and merged after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from twinlens.errors import ConfigError, MissingExtraError, root_cause
from twinlens.model.clip import CLIP

if TYPE_CHECKING:
    from twinlens.train.recipes.adapt import AdaptConfig


def add_lora(model: CLIP, adapt: AdaptConfig, seed: int = 0) -> None:
    """Insert adapters into every linear layer that is not locked.

    Only the adapters and the logit scale and bias are then trained. Adapters are initialised by
    `seed` and at first change nothing.

    Raises:
        ConfigError: All linear layers are locked, or peft cannot be imported.
        MissingExtraError: peft is not installed.
    """
    try:
        import peft  # noqa: PLC0415  an extra
    except Exception as error:  # its own imports may fail in any way
        if isinstance(error, ImportError) and error.name == "peft":
            raise MissingExtraError("peft", "finetune") from error
        raise ConfigError(
            f"adapt.lora_rank: peft cannot be imported: {root_cause(error)}"
        ) from error
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]
    if not targets:
        raise ConfigError("adapt.lora_rank: got all layers locked, expected some to adapt")
    config = peft.LoraConfig(
        r=adapt.lora_rank,
        lora_alpha=cast(int, adapt.lora_alpha),
        lora_dropout=adapt.lora_dropout,
        target_modules=targets,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, cast(Any, model))
    for parameter in (model.logit_scale, model.logit_bias):
        if parameter is not None:
            parameter.requires_grad_(True)


def merge_lora(model: CLIP) -> None:
    """Merge the adapters into the weights, which leaves a plain model."""
    from peft.tuners.lora import LoraLayer  # noqa: PLC0415  an extra

    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)]
    for name, module in layers:
        parent, _, attribute = name.rpartition(".")
        layer = cast(Any, module)
        layer.merge()
        setattr(model.get_submodule(parent), attribute, layer.get_base_layer())
    for parameter in model.parameters():
        parameter.requires_grad_(True)
