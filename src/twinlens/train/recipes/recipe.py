"""The recipe of a run: all of its settings in one frozen dataclass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from twinlens.config import CLIPConfig, ViTConfig
from twinlens.data.augment import Augmentation
from twinlens.errors import MAX_SEED, MAX_STEPS, ConfigError, require, require_in_range
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes.adapt import AdaptConfig

MAX_BATCH_SIZE = 2**20
"""The largest batch size accepted."""

_RANGES = {
    "batch_size": (1, MAX_BATCH_SIZE),
    "steps": (1, MAX_STEPS),
    "seed": (0, MAX_SEED),
    "captions_per_image": (1, 256),
    "checkpoint_every": (1, MAX_STEPS),
    "keep_checkpoints": (1, 10**6),
    "eval_every": (1, MAX_STEPS),
    "log_every": (1, MAX_STEPS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """Settings of how a step is computed, which may change when a run is resumed.

    Sums are then taken in another order, so that the weights are the same only up to rounding.

    Attributes:
        accum_freq: Gradient accumulation: number of micro-batches that a device's part of the
            batch is computed in, one after the other; the loss is that of the whole batch.
        loss_tile_size: Side of the square tiles of similarities that the loss computes at a time;
            0 computes all at once.
        checkpoint_activations: Store only the inputs of each block and compute the rest again in
            the backward pass.
        parallel: "ddp" replicates the model on each device, "fsdp" shards it.
    """

    accum_freq: int = 1
    loss_tile_size: int = 0
    checkpoint_activations: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"

    def __post_init__(self) -> None:
        require_in_range("compute.accum_freq", self.accum_freq, 1, MAX_BATCH_SIZE)
        require_in_range("compute.loss_tile_size", self.loss_tile_size, 0, MAX_BATCH_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of one training run.

    Attributes:
        name: Name of the recipe.
        model: Architecture and preprocessing. If its tokenizer is "tokenizer.json", a vocabulary
            of `model.text.vocab_size` is trained on the run's captions first.
        batch_size: Pairs of a step on all devices together.
        steps: Total number of optimiser steps.
        seed: Seed of initial weights, order, crops and captions.
        captions_per_image: Captions drawn for an image in a step, each from its own part of the
            image's caption list, in order, and contrasted with the whole batch.
        precision: "bf16" computes in bf16 with float32 master weights; "auto" chooses it if the
            hardware multiplies bf16 natively, else "fp32". The loss is always in float32.
        loss: "softmax" is the paper's contrastive loss. "sigmoid" is SigLIP's, which classifies
            every pair on its own and needs the model's `logit_bias`.
        patch_dropout: Fraction of a vision transformer's patches left out in training (FLIP).
        max_bad_fraction: Samples that cannot be used are replaced; above this fraction the run
            ends.
        optim: Optimiser and schedule.
        augment: Image augmentation.
        init: Name or directory of the model to start from; empty for random weights.
        adapt: Fine-tuning settings.
        compute: Settings of how a step is computed, which do not change the result.
        checkpoint_every: Steps between checkpoints.
        checkpoint_every_minutes: Minutes after which a checkpoint is written in any case; 0 counts
            steps only.
        keep_checkpoints: Number of newest checkpoints that are not deleted, so that another is
            left if the newest is damaged.
        eval_every: Steps between evaluations; the last step is always evaluated.
        log_every: Steps between lines of the log.
    """

    name: str
    model: CLIPConfig
    batch_size: int
    steps: int
    seed: int = 0
    captions_per_image: int = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    loss: Literal["softmax", "sigmoid"] = "softmax"
    patch_dropout: float = 0.0
    max_bad_fraction: float = 0.01
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: Augmentation = field(default_factory=Augmentation)
    init: str = ""
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    checkpoint_every: int = 500
    checkpoint_every_minutes: float = 0.0
    keep_checkpoints: int = 2
    eval_every: int = 500
    log_every: int = 10

    @property
    def needs_captions(self) -> bool:
        """True if the run is contrastive, False if it trains a classifier head."""
        return self.adapt.head == "none"

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            require_in_range(name, getattr(self, name), low, high)
        if self.model.vision is None or self.model.text is None:
            raise ConfigError("model: got one tower, expected both")
        fraction, minutes = self.max_bad_fraction, self.checkpoint_every_minutes
        require(0 <= fraction <= 1, "max_bad_fraction", fraction, "within [0, 1]")
        require(0 <= minutes < math.inf, "checkpoint_every_minutes", minutes, "0 or more")
        if not self.init and self.adapt != AdaptConfig():
            raise ConfigError("init: got none with settings of adapt, expected a model to adapt")
        self._check_patch_dropout()
        self._check_loss()

    def _check_patch_dropout(self) -> None:
        dropout = self.patch_dropout
        require(0 <= dropout < 1, "patch_dropout", dropout, "within [0, 1)")
        has_patches = isinstance(self.model.vision, ViTConfig)
        require(not dropout or has_patches, "patch_dropout", dropout, "0: a ResNet has no patches")

    def _check_loss(self) -> None:
        bias, needed = self.model.logit_bias, self.loss == "sigmoid"
        require(bias == needed, "model.logit_bias", bias, f"{needed} for loss={self.loss}")
