"""Data parallelism and activation checkpointing, applied to the towers from outside."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from twinlens.distributed.world import World
from twinlens.errors import ConfigError
from twinlens.model.clip import CLIP
from twinlens.model.layers import TransformerBlock
from twinlens.model.resnet import Bottleneck, ModifiedResNet
from twinlens.model.text import encode_sorted_by_length

_TEXT_GROUP_SIZE = 96
"""Texts encoded together: enough to use the hardware, few enough to be of similar length."""


TowerInputs = tuple[Tensor, Tensor | None, Tensor | None]
"""Images, tokens [set, pair, length] and patch indices; the last two where they are used."""

TowerFeatures = tuple[Tensor, ...]
"""Image features and, where there are tokens, text features; pairs are dimension -2 of both."""


class ParallelTowers(nn.Module):
    """Both towers as one module that can be parallelised: images and texts in, features out.

    The logit scale and bias stay outside: the loss computes their gradients once, however the
    towers run.
    """

    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.encode_image = model.encode_image
        self.image_tower = model.image_tower
        self.text_tower = model.text_tower

    def forward(
        self, images: Tensor, tokens: Tensor | None, patch_indices: Tensor | None
    ) -> TowerFeatures:
        """Encode images and captions.

        Args:
            images: Normalised images [pair, channel, height, width].
            tokens: Captions [set, pair, length], each set one caption a pair; None for images only.
            patch_indices: The patches that patch dropout leaves [pair, patch]; None for all.

        Returns:
            Image features [pair, embed] and, where there are tokens, text features
            [set, pair, embed].
        """
        image_features = self.encode_image(images, patch_indices=patch_indices)
        if tokens is None:
            return (image_features,)
        texts = tokens.flatten(0, 1)
        group_size = -(-len(texts) // max(1, len(texts) // _TEXT_GROUP_SIZE))
        text_features = encode_sorted_by_length(self.text_tower, texts, group_size)
        return image_features, text_features.view(*tokens.shape[:2], -1)


def parallelise(
    towers: ParallelTowers, world: World, device: torch.device, *, kind: str, dtype: torch.dtype
) -> nn.Module:
    """Replicate the towers (`ddp`) or shard their weights (`fsdp`) over the processes.

    Args:
        towers: On their device; with `fsdp` in float32, because they are the optimiser's masters.
        world: The processes. With one, the towers are returned as they are.
        device: Device of this process.
        kind: "ddp" or "fsdp".
        dtype: The dtype that sharded towers compute in.

    Raises:
        ConfigError: A ResNet is to be sharded: torch shards no weights with channels last.
    """
    if world.group is None:
        return towers
    if kind == "ddp":
        if not any(parameter.requires_grad for parameter in towers.parameters()):
            return towers  # all locked: torch refuses DDP without gradients
        return DistributedDataParallel(
            towers,
            device_ids=[device] if device.type == "cuda" else None,
            process_group=world.group,
            gradient_as_bucket_view=True,
        )
    if isinstance(towers.image_tower, ModifiedResNet):
        raise ConfigError("compute.parallel: got 'fsdp' for a ResNet, expected 'ddp'")
    shard: Callable[..., Any] = partial(
        fully_shard,
        mesh=init_device_mesh(device.type, (world.world_size,)),
        mp_policy=MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32),
    )
    for module in towers.modules():
        if isinstance(module, TransformerBlock):
            shard(module)
    for tower in (towers.image_tower, towers.text_tower, towers):
        shard(tower)
    return towers


def gradient_sync(towers: nn.Module, enabled: bool) -> AbstractContextManager[object]:
    """Enable DDP's gradient exchange; only the last of several backward passes needs it."""
    if enabled or not isinstance(towers, DistributedDataParallel):
        return nullcontext()
    return towers.no_sync()


def checkpoint_activations(towers: ParallelTowers) -> None:
    """Store only the inputs of each block and compute the block again in the backward pass.

    Chen et al. 2016; the CLIP paper did so for its largest models (section 2.5).
    """
    for module in towers.modules():
        if isinstance(module, TransformerBlock | Bottleneck):
            module.forward = partial(
                checkpoint,
                module.forward,
                use_reentrant=False,
                preserve_rng_state=True,
                context_fn=partial(_checkpoint_contexts, module),
            )


def _checkpoint_contexts(
    module: nn.Module,
) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    return nullcontext(), frozen_batch_norm_statistics(module)


@contextmanager
def frozen_batch_norm_statistics(module: nn.Module) -> Generator[None]:
    """Keep batch norms from updating their statistics: the same batch is seen a second time."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
