"""Parallelism and memory, applied to the towers from outside: their `forward` stays plain."""

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
from twinlens.model.layers import Block
from twinlens.model.resnet import Bottleneck, ModifiedResNet
from twinlens.model.text import encode_by_length

_GROUP = 96
"""Texts encoded together: enough to fill the hardware, few enough to be of one length."""


Features = tuple[Tensor, ...]
"""What towers say of a batch; each tensor has the batch's pairs as its last dimension but one."""


class Towers(nn.Module):
    """Both towers as one module, to be parallelised: images and texts in, features out.

    The scale and the bias stay outside: the loss has their gradients once, however the towers run.
    """

    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.encode = model.encode_image
        self.image_tower = model.image_tower
        self.text_tower = model.text_tower

    def forward(self, images: Tensor, tokens: Tensor | None, kept: Tensor | None) -> Features:
        """Image features [pair, embed] and, where there are tokens, text features [text, embed]."""
        image_features = self.encode(images, kept=kept)
        if tokens is None:
            return (image_features,)
        groups = max(1, len(tokens) // _GROUP)
        return image_features, encode_by_length(self.text_tower, tokens, -(-len(tokens) // groups))


def parallelise(
    towers: Towers, world: World, device: torch.device, *, kind: str, dtype: torch.dtype
) -> nn.Module:
    """The towers for a world: replicated (`ddp`) or with their weights sharded (`fsdp`).

    Args:
        towers: On their device; with `fsdp` in float32, which then are the optimiser's masters.
        world: The processes. Where there is one, the towers stay as they are.
        device: Of this process.
        kind: "ddp" or "fsdp".
        dtype: What sharded towers compute in.

    Raises:
        ConfigError: A ResNet is to be sharded: torch shards no weights with channels last.
    """
    if world.group is None:
        return towers
    if kind == "ddp":
        if not any(parameter.requires_grad for parameter in towers.parameters()):
            return towers  # all locked: there are no gradients to add up, and torch refuses it
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
        if isinstance(module, Block):
            shard(module)
    for tower in (towers.image_tower, towers.text_tower, towers):
        shard(tower)
    return towers


def synchronised(towers: nn.Module, wanted: bool) -> AbstractContextManager[object]:
    """Whether a backward pass ends in an exchange of gradients; only the last of several has to."""
    if wanted or not isinstance(towers, DistributedDataParallel):
        return nullcontext()
    return towers.no_sync()


def checkpoint_activations(towers: Towers) -> None:
    """Keep what goes into each block only, and compute the block again in the backward pass.

    Chen et al. 2016; the paper did so for its largest models (section 2.5).
    """
    for module in towers.modules():
        if isinstance(module, Block | Bottleneck):
            module.forward = partial(
                checkpoint,
                module.forward,
                use_reentrant=False,
                preserve_rng_state=True,
                context_fn=partial(_passes, module),
            )


def _passes(
    module: nn.Module,
) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    return nullcontext(), statistics_kept(module)


@contextmanager
def statistics_kept(module: nn.Module) -> Generator[None]:
    """Batch norms that do not count what they see: it is seen a second time."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
