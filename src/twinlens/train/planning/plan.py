"""Plan a training run before it starts: FLOPs, memory, time, cost and storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from twinlens.errors import require
from twinlens.model.clip import CLIP
from twinlens.model.layers import TransformerBlock
from twinlens.model.resnet import Bottleneck
from twinlens.train.finetune.layers import lock_layers
from twinlens.train.planning.devices import GB, DeviceGroup
from twinlens.train.planning.flops import (
    DEFAULT_CAPTION_TOKENS,
    pair_cost,
    recipe_image_cost,
    recipe_similarity_cost,
    recipe_text_cost,
)
from twinlens.train.planning.memory import DeviceMemory, ParameterCounts, estimate_device_memory
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.recipe import Recipe

MAX_MEMORY_FRACTION = 0.9
"""Fraction of a device's memory that a plan may fill; the rest is for what is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAssumptions:
    """Assumptions about values that a plan cannot know.

    Attributes:
        caption_tokens: Mean caption length, including start and end tokens.
        mfu: Fraction of the peak that a step reaches, recomputation to save memory included.
        price: Price of a device's hour in US dollars; None for the known price of the device.
        sample_kb: Mean size of a sample in its shard, in 1,000 bytes.
        shard_samples: Number of samples of a shard.
    """

    caption_tokens: float = DEFAULT_CAPTION_TOKENS
    mfu: float = 0.4
    price: float | None = None
    sample_kb: float = 40.0
    shard_samples: int = 10_000

    def __post_init__(self) -> None:
        require(0 < self.mfu <= 1, "--mfu", self.mfu, "a share in (0, 1]")
        for name in ("caption_tokens", "sample_kb", "shard_samples"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"--{name.replace('_', '-')}", value, "above 0")
        price = self.price or 0.0
        require(0 <= price < math.inf, "--price-per-hour", price, "0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopEstimate:
    """FLOPs of a pair; fields with `training` include the backward pass."""

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
    """Including recomputation: checkpointed blocks, features cached for accumulation."""

    run: float
    """FLOPs of all pairs of the run, forward and backward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGroupPlan:
    """Memory, time, cost and storage of a device group; memory in bytes a device."""

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
        """True if a step fits, with room for what is not counted."""
        return self.needed <= MAX_MEMORY_FRACTION * self.available


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """The plan of a recipe on several device groups."""

    recipe: str
    steps: int
    batch_size: int
    pairs: int
    parameters: dict[str, int]
    operations: FlopEstimate
    assumed: PlanAssumptions
    groups: list[DeviceGroupPlan]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return asdict(self)


def plan_training(
    recipe: Recipe, device_groups: Sequence[DeviceGroup], assumptions: PlanAssumptions
) -> TrainingPlan:
    """Plan a recipe on device groups; nothing is allocated."""
    with torch.device("meta"):
        model = CLIP(recipe.model)
    lock_layers(model, recipe.adapt)
    operations = _estimate_flops(recipe, assumptions.caption_tokens)
    sizes = _parameter_counts(model, recipe.adapt)
    planned = [
        _plan_device_group(recipe, group, operations, assumptions, sizes) for group in device_groups
    ]
    return TrainingPlan(
        recipe=recipe.name,
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        pairs=recipe.steps * recipe.batch_size,
        parameters=_count_parameters(model) | {"trained": sizes.trained},
        operations=operations,
        assumed=assumptions,
        groups=planned,
        notes=_notes(recipe, device_groups, planned),
    )


def _count_parameters(model: CLIP) -> dict[str, int]:
    towers = {
        name: sum(parameter.numel() for parameter in getattr(model, name).parameters())
        for name in ("image_tower", "text_tower")
    }
    total = sum(parameter.numel() for parameter in model.parameters())
    return towers | {"other": total - sum(towers.values()), "total": total}


def _parameter_counts(model: CLIP, adapt: AdaptConfig) -> ParameterCounts:
    """Count parameters, with adapters and without a classifier head.

    FSDP's units are the blocks of both towers; parameters outside them are few.
    """
    blocks = [
        sum(parameter.numel() for parameter in module.parameters())
        for module in model.modules()
        if isinstance(module, TransformerBlock | Bottleneck)
    ]
    trained = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    adapters = 0
    if adapt.lora_rank:
        linear = [m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
        adapters = adapt.lora_rank * sum(m.in_features + m.out_features for m in linear)
        trained = [1, int(model.logit_bias is not None), adapters]
    return ParameterCounts(
        total=sum(parameter.numel() for parameter in model.parameters()) + adapters,
        trained=sum(trained),
        largest_block=max(blocks),
    )


def _estimate_flops(recipe: Recipe, tokens: float) -> FlopEstimate:
    image, text = recipe_image_cost(recipe), recipe_text_cost(recipe, tokens)
    full = recipe_text_cost(recipe, recipe.model.text_config.context_length)
    similarities = recipe_similarity_cost(recipe)
    pair, compute = pair_cost(recipe, tokens), recipe.compute
    towers = pair.forward - recipe.captions_per_image * similarities.forward
    executed = pair.training + ((compute.accum_freq > 1) + compute.checkpoint_activations) * towers
    if compute.loss_tile_size:
        executed += recipe.captions_per_image * similarities.forward
    return FlopEstimate(
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


def _plan_device_group(
    recipe: Recipe,
    group: DeviceGroup,
    operations: FlopEstimate,
    assumed: PlanAssumptions,
    sizes: ParameterCounts,
) -> DeviceGroupPlan:
    dtype = _planned_dtype(recipe, group)
    memory, parts = _estimate_memory(recipe, group, assumed, sizes)
    peak = group.count * group.device.peak_flops(dtype)
    pairs_per_second = peak * assumed.mfu / operations.pair_executed
    seconds = recipe.steps * recipe.batch_size / pairs_per_second
    hours = seconds * group.count / 3600
    price = group.device.price_per_hour if assumed.price is None else assumed.price
    return DeviceGroupPlan(
        devices=group.name,
        precision="bf16" if dtype == torch.bfloat16 else "fp32",
        micro_batch=recipe.batch_size / group.count / recipe.compute.accum_freq,
        memory=memory,
        parts=parts,
        needed=sum(parts.values()),
        available=group.device.memory_gb * GB,
        accum_freq_that_fits=_smallest_fitting_accum_freq(recipe, group, assumed, sizes),
        pairs_per_second=pairs_per_second,
        seconds=seconds,
        device_hours=hours,
        price=price,
        cost=hours * price,
        images_per_second=pairs_per_second,
        megabytes_per_second=pairs_per_second * assumed.sample_kb / 1000,
        shards_per_second=pairs_per_second / assumed.shard_samples,
    )


def _planned_dtype(recipe: Recipe, group: DeviceGroup) -> torch.dtype:
    """The dtype that the run would choose."""
    native = group.device.bf16_tflops > 0
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and native)
    return torch.bfloat16 if bf16 else torch.float32


def _estimate_memory(
    recipe: Recipe, group: DeviceGroup, assumed: PlanAssumptions, sizes: ParameterCounts
) -> tuple[DeviceMemory, dict[str, float]]:
    compute = recipe.compute
    memory = estimate_device_memory(
        recipe,
        sizes,
        num_devices=group.count,
        bytes_per_element=_planned_dtype(recipe, group).itemsize,
        caption_tokens=assumed.caption_tokens,
    )
    tiled = compute.loss_tile_size > 0
    return memory, memory.breakdown(is_checkpointed=compute.checkpoint_activations, is_tiled=tiled)


def _smallest_fitting_accum_freq(
    recipe: Recipe, group: DeviceGroup, assumed: PlanAssumptions, sizes: ParameterCounts
) -> int | None:
    """The smallest accum_freq that fits, doubling from the recipe's own; None if none does."""
    accum_freq = recipe.compute.accum_freq
    while recipe.batch_size >= group.count * accum_freq:
        finer = replace(recipe, compute=replace(recipe.compute, accum_freq=accum_freq))
        _, parts = _estimate_memory(finer, group, assumed, sizes)
        if sum(parts.values()) <= MAX_MEMORY_FRACTION * group.device.memory_gb * GB:
            return accum_freq
        accum_freq *= 2
    return None


def _notes(
    recipe: Recipe, groups: Sequence[DeviceGroup], planned: Sequence[DeviceGroupPlan]
) -> list[str]:
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
            notes.append(f"{plan.devices}: does not fit; {_suggest_settings(recipe, plan)}")
    return list(dict.fromkeys(notes))


def _suggest_settings(recipe: Recipe, plan: DeviceGroupPlan) -> str:
    if plan.accum_freq_that_fits:
        return f"--set compute.accum_freq={plan.accum_freq_that_fits} would"
    saves: list[str] = []
    if not recipe.compute.checkpoint_activations:
        saves.append("compute.checkpoint_activations=true")
    if not recipe.compute.loss_tile_size:
        saves.append("compute.loss_tile_size=4096")
    if recipe.compute.parallel == "ddp":
        saves.append("compute.parallel=fsdp")
    return f"nor with a larger accum_freq; try {', '.join([*saves, 'more devices'])}"
