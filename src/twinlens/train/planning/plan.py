"""What a run will take, before anything runs: operations, memory, time, cost, storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from twinlens.errors import ConfigError
from twinlens.model.clip import CLIP
from twinlens.model.layers import Block
from twinlens.model.resnet import Bottleneck
from twinlens.train.finetune.layers import lock
from twinlens.train.planning.devices import GB, Group
from twinlens.train.planning.flops import (
    CAPTION_TOKENS,
    pair_cost,
    recipe_image,
    recipe_similarities,
    recipe_text,
)
from twinlens.train.planning.memory import DeviceMemory, Sizes, device_memory
from twinlens.train.recipes.adapt import Adapt
from twinlens.train.recipes.recipe import Recipe

ROOM = 0.9
"""Share of a device's memory that a plan fills: the rest is for what it does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What a plan cannot know.

    Attributes:
        caption_tokens: Mean length of a caption, start and end counted.
        mfu: Share of the peak that the operations of a step reach; what is computed twice to
            save memory comes on top.
        price: Of a device's hour in US dollars; the device's own where None.
        sample_kb: Mean size of a sample in its shard, in 1,000 bytes.
        shard_samples: Samples of a shard.
    """

    caption_tokens: float = CAPTION_TOKENS
    mfu: float = 0.4
    price: float | None = None
    sample_kb: float = 40.0
    shard_samples: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"--mfu: got {self.mfu}, expected a share in (0, 1]")
        for name in ("caption_tokens", "sample_kb", "shard_samples"):
            if not 0 < getattr(self, name) < math.inf:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option}: got {getattr(self, name)}, expected above 0")
        if self.price is not None and not 0 <= self.price < math.inf:
            raise ConfigError(f"--price-per-hour: got {self.price}, expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Floating-point operations of a pair; backward included where it says training."""

    image: float
    image_training: float
    text: float
    text_training: float
    text_full_context: float
    text_full_context_training: float
    similarities: float
    similarities_training: float
    pair: float
    pair_training: float
    pair_executed: float
    """With what is computed twice: checkpointed blocks, features cached for accumulation."""

    run: float
    """All pairs of the run, forward and backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """Memory, time, cost and storage for some devices; memory in bytes a device."""

    devices: str
    precision: str
    micro_batch: float
    memory: DeviceMemory
    parts: dict[str, float]
    needed: float
    available: float
    accum_freq_that_fits: int | None
    pairs_per_second: float
    seconds: float
    device_hours: float
    price: float
    cost: float
    images_per_second: float
    megabytes_per_second: float
    shards_per_second: float

    @property
    def fits(self) -> bool:
        """With room for what is not counted."""
        return self.needed <= ROOM * self.available


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it."""

    recipe: str
    steps: int
    batch_size: int
    pairs: int
    parameters: dict[str, int]
    operations: Operations
    assumed: Assumptions
    groups: list[GroupPlan]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def make_plan(recipe: Recipe, groups: Sequence[Group], assumed: Assumptions) -> Plan:
    """Plan a recipe on groups of devices; nothing is allocated."""
    with torch.device("meta"):
        model = CLIP(recipe.model)
    lock(model, recipe.adapt)
    operations = _operations(recipe, assumed.caption_tokens)
    sizes = _sizes(model, recipe.adapt)
    planned = [_group_plan(recipe, group, operations, assumed, sizes) for group in groups]
    return Plan(
        recipe=recipe.name,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        pairs=recipe.steps * recipe.batch_size,
        parameters=_parameters(model) | {"trained": sizes.trained},
        operations=operations,
        assumed=assumed,
        groups=planned,
        notes=_notes(recipe, groups, planned),
    )


def _parameters(model: CLIP) -> dict[str, int]:
    towers = {
        name: sum(parameter.numel() for parameter in getattr(model, name).parameters())
        for name in ("image_tower", "text_tower")
    }
    total = sum(parameter.numel() for parameter in model.parameters())
    return towers | {"other": total - sum(towers.values()), "total": total}


def _sizes(model: CLIP, adapt: Adapt) -> Sizes:
    """FSDP's units are the blocks of both towers; what lies outside them is small.

    What is trained has gradients, or adapters beside it; a classifier is not counted.
    """
    blocks = [
        sum(parameter.numel() for parameter in module.parameters())
        for module in model.modules()
        if isinstance(module, Block | Bottleneck)
    ]
    trained = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    adapters = 0
    if adapt.lora_rank:
        linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
        adapters = adapt.lora_rank * sum(m.in_features + m.out_features for m in linear)
        trained = [1, int(model.logit_bias is not None), adapters]
    return Sizes(
        parameters=sum(parameter.numel() for parameter in model.parameters()) + adapters,
        trained=sum(trained),
        largest_block=max(blocks),
    )


def _operations(recipe: Recipe, tokens: float) -> Operations:
    image, text = recipe_image(recipe), recipe_text(recipe, tokens)
    full = recipe_text(recipe, recipe.model.text_input.context_length)
    similarities = recipe_similarities(recipe)
    pair, compute = pair_cost(recipe, tokens), recipe.compute
    towers = pair.forward - recipe.captions * similarities.forward
    again = (compute.accum_freq > 1) + compute.checkpoint_activations
    executed = pair.training + again * towers
    if compute.tile:
        executed += recipe.captions * similarities.forward
    return Operations(
        image=image.forward,
        image_training=image.training,
        text=text.forward,
        text_training=text.training,
        text_full_context=full.forward,
        text_full_context_training=full.training,
        similarities=similarities.forward,
        similarities_training=similarities.training,
        pair=pair.forward,
        pair_training=pair.training,
        pair_executed=executed,
        run=pair.training * recipe.steps * recipe.batch_size,
    )


def _group_plan(
    recipe: Recipe, group: Group, operations: Operations, assumed: Assumptions, sizes: Sizes
) -> GroupPlan:
    dtype = _dtype(recipe, group)
    memory, parts = _memory(recipe, group, assumed, sizes)
    peak = group.count * group.device.peak(dtype)
    pairs_per_second = peak * assumed.mfu / operations.pair_executed
    seconds = recipe.steps * recipe.batch_size / pairs_per_second
    hours = seconds * group.count / 3600
    price = group.device.price if assumed.price is None else assumed.price
    return GroupPlan(
        devices=group.name,
        precision="bf16" if dtype == torch.bfloat16 else "fp32",
        micro_batch=recipe.batch_size / group.count / recipe.compute.accum_freq,
        memory=memory,
        parts=parts,
        needed=sum(parts.values()),
        available=group.device.memory_gb * GB,
        accum_freq_that_fits=_accum_freq_that_fits(recipe, group, assumed, sizes),
        pairs_per_second=pairs_per_second,
        seconds=seconds,
        device_hours=hours,
        price=price,
        cost=hours * price,
        images_per_second=pairs_per_second,
        megabytes_per_second=pairs_per_second * assumed.sample_kb / 1000,
        shards_per_second=pairs_per_second / assumed.shard_samples,
    )


def _dtype(recipe: Recipe, group: Group) -> torch.dtype:
    """As the run would choose."""
    native = group.device.bf16_tflops > 0
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and native)
    return torch.bfloat16 if bf16 else torch.float32


def _memory(
    recipe: Recipe, group: Group, assumed: Assumptions, sizes: Sizes
) -> tuple[DeviceMemory, dict[str, float]]:
    compute = recipe.compute
    memory = device_memory(
        recipe,
        sizes,
        devices=group.count,
        working_bytes=_dtype(recipe, group).itemsize,
        tokens=assumed.caption_tokens,
    )
    tiled = compute.tile > 0
    return memory, memory.parts(checkpointed=compute.checkpoint_activations, tiled=tiled)


def _accum_freq_that_fits(
    recipe: Recipe, group: Group, assumed: Assumptions, sizes: Sizes
) -> int | None:
    """The least power of two, from the recipe's own, in which a step fits; None if none does."""
    accum_freq = recipe.compute.accum_freq
    while recipe.batch_size >= group.count * accum_freq:
        finer = replace(recipe, compute=replace(recipe.compute, accum_freq=accum_freq))
        _, parts = _memory(finer, group, assumed, sizes)
        if sum(parts.values()) <= ROOM * group.device.memory_gb * GB:
            return accum_freq
        accum_freq *= 2
    return None


def _notes(recipe: Recipe, groups: Sequence[Group], planned: Sequence[GroupPlan]) -> list[str]:
    notes: list[str] = []
    for group, plan in zip(groups, planned, strict=True):
        parts = group.count * recipe.compute.accum_freq
        if group.device.note:
            notes.append(group.device.note)
        if recipe.batch_size % parts:
            notes.append(
                f"{plan.devices}: a batch of {recipe.batch_size:,} does not divide into "
                f"{parts:,} parts, one for each device and part of a step: a run would refuse it"
            )
        if not plan.fits:
            notes.append(f"{plan.devices}: does not fit; {_what_fits(recipe, plan)}")
    return list(dict.fromkeys(notes))


def _what_fits(recipe: Recipe, plan: GroupPlan) -> str:
    if plan.accum_freq_that_fits:
        return f"--set compute.accum_freq={plan.accum_freq_that_fits} would"
    saves: list[str] = []
    if not recipe.compute.checkpoint_activations:
        saves.append("compute.checkpoint_activations=true")
    if not recipe.compute.tile:
        saves.append("compute.tile=4096")
    if recipe.compute.parallel == "ddp":
        saves.append("compute.parallel=fsdp")
    return f"nor with a larger accum_freq; try {', '.join([*saves, 'more devices'])}"
