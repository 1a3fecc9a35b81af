"""What a recipe is: everything that decides a run, as one frozen configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from twinlens.config import CLIPConfig, ViTConfig
from twinlens.data.augment import Augmentation
from twinlens.errors import MOST_SEED, MOST_STEPS, ConfigError, require_within
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes.adapt import Adapt

MOST_PAIRS = 2**20
"""Of a batch: as many as anyone has tried."""

_RANGES = {
    "batch_size": (1, MOST_PAIRS),
    "steps": (1, MOST_STEPS),
    "seed": (0, MOST_SEED),
    "captions": (1, 256),
    "checkpoint_every": (1, MOST_STEPS),
    "keep_checkpoints": (1, 10**6),
    "eval_every": (1, MOST_STEPS),
    "log_every": (1, MOST_STEPS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How a step is computed, not what: it may change when a run goes on.

    Sums are then taken in another order, so that the weights are the same only up to rounding.

    Attributes:
        accum_freq: Parts that a device's share of the batch is computed in, one after the other;
            the loss is that of the whole batch.
        tile: Side of the squares of similarities that the loss holds at a time; 0 holds all.
        checkpoint_activations: Keep only what goes into each block, and compute the rest again
            for the gradient.
        parallel: "ddp" keeps the whole model on each device, "fsdp" a share of it.
    """

    accum_freq: int = 1
    tile: int = 0
    checkpoint_activations: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"

    def __post_init__(self) -> None:
        require_within("compute.accum_freq", self.accum_freq, 1, MOST_PAIRS)
        require_within("compute.tile", self.tile, 0, MOST_PAIRS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        name: What the recipe is called.
        model: Architecture and preprocessing. Where its tokenizer is "tokenizer.json", a
            vocabulary of `model.text.vocab_size` is trained on the run's captions first.
        batch_size: Pairs a step, of all devices together.
        steps: Optimiser steps in all.
        seed: Decides weights, order, crops and captions.
        captions: Captions drawn for an image in a step, each drawn from its own share of the
            image's caption list, in order, and contrasted with the whole batch.
        precision: "bf16" computes in bf16 with float32 master weights; "auto" chooses it where
            the hardware multiplies bf16 natively, else "fp32". The loss is always in float32.
        loss: "softmax" is the paper's contrastive loss. "sigmoid" is SigLIP's, which judges every
            pair on its own and needs the model's `logit_bias`.
        patch_dropout: Share of a vision transformer's patches left out in training (FLIP).
        max_bad_share: Samples that cannot be used are replaced; beyond this share the run ends.
        optim: Optimiser and schedule.
        augment: Random changes of the images.
        init: Name or directory of the model to start from; none starts from random weights.
        adapt: What of that model is changed, and how much.
        compute: How the step is computed, which changes nothing of what it computes.
        checkpoint_every: Steps between checkpoints.
        checkpoint_minutes: Minutes after which one is written in any case; 0 goes by steps alone.
        keep_checkpoints: How many of the newest are kept: should one be damaged by what ended the
            run, another is left.
        eval_every: Steps between evaluations; the last step is always evaluated.
        log_every: Steps between lines of the log.
    """

    name: str
    model: CLIPConfig
    batch_size: int
    steps: int
    seed: int = 0
    captions: int = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    loss: Literal["softmax", "sigmoid"] = "softmax"
    patch_dropout: float = 0.0
    max_bad_share: float = 0.01
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: Augmentation = field(default_factory=Augmentation)
    init: str = ""
    adapt: Adapt = field(default_factory=Adapt)
    compute: Compute = field(default_factory=Compute)
    checkpoint_every: int = 500
    checkpoint_minutes: float = 0.0
    keep_checkpoints: int = 2
    eval_every: int = 500
    log_every: int = 10

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            require_within(name, getattr(self, name), low, high)
        if self.model.vision is None or self.model.text is None:
            raise ConfigError("model: got one tower, expected both")
        if not 0 <= self.max_bad_share <= 1:
            raise ConfigError(f"max_bad_share: got {self.max_bad_share}, expected within [0, 1]")
        if not 0 <= self.checkpoint_minutes < math.inf:
            raise ConfigError(
                f"checkpoint_minutes: got {self.checkpoint_minutes}, expected 0 or more"
            )
        if not self.init and self.adapt != Adapt():
            raise ConfigError("init: got none with settings of adapt, expected a model to adapt")
        self._check_patch_dropout()
        self._check_loss()

    def _check_patch_dropout(self) -> None:
        if not 0 <= self.patch_dropout < 1:
            raise ConfigError(f"patch_dropout: got {self.patch_dropout}, expected within [0, 1)")
        if self.patch_dropout and not isinstance(self.model.vision, ViTConfig):
            raise ConfigError(
                f"patch_dropout: got {self.patch_dropout}, expected 0: a ResNet has no patches"
            )

    def _check_loss(self) -> None:
        needed = self.loss == "sigmoid"
        if self.model.logit_bias != needed:
            raise ConfigError(
                f"model.logit_bias: got {self.model.logit_bias}, expected {needed} for "
                f"loss={self.loss}"
            )
