"""Recipes: everything that decides a run, as functions that return a frozen configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from twinlens import hub
from twinlens.config import CLIPConfig, ViTConfig
from twinlens.data.augment import Augmentation
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model import presets
from twinlens.model.checkpoints import open_checkpoint
from twinlens.train.adapt import Adapt
from twinlens.train.optim import OptimConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How a run is computed: it decides how fast and in how much memory, not what comes out.

    It may change when a run is resumed. Sums are then taken in another order, so the weights are
    the same only up to rounding.

    Attributes:
        accum_freq: Parts that each process cuts its pairs into, so that only one part's
            activations are held; the loss is still that of the whole batch.
        tile: Side of the tiles in which the loss is computed; 0 computes it in one piece.
        checkpoint_activations: Compute each block again in the backward pass instead of keeping
            what is inside it.
        parallel: "ddp" gives each process all weights, "fsdp" a share of them.
    """

    accum_freq: int = 1
    tile: int = 0
    checkpoint_activations: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"

    def __post_init__(self) -> None:
        if self.accum_freq < 1:
            raise ConfigError(f"compute.accum_freq: got {self.accum_freq}, expected at least 1")
        if self.tile < 0:
            raise ConfigError(f"compute.tile: got {self.tile}, expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        name: What the recipe is called.
        model: Architecture and preprocessing. Where its tokenizer is "tokenizer.json", a
            vocabulary of `model.text.vocab_size` is trained on the run's captions first.
        batch_size: Pairs a step, of all processes together.
        steps: Optimiser steps in all.
        seed: Decides weights, order, crops and captions.
        captions: Captions drawn for a picture in a step, each drawn from its own share of the
            picture's caption list, in order, and contrasted with the whole batch.
        precision: "bf16" computes in bf16 with float32 master weights; "auto" chooses it where
            the hardware multiplies bf16 natively, else "fp32". The loss is always in float32.
        optim: Optimiser and schedule.
        augment: Random changes of the pictures.
        loss: "softmax" is CLIP's; "sigmoid" is SigLIP's, for models with a logit bias.
        patch_dropout: Share of each picture's patches that a vision transformer does not see
            (FLIP, Li et al. 2023).
        max_bad_share: Largest share of samples that may be unusable; beyond it the run stops.
        init: Name or directory of the model to start from; none starts from random weights.
        adapt: What of that model is changed, and how much.
        compute: How it is computed: what may differ from machine to machine.
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
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: Augmentation = field(default_factory=Augmentation)
    loss: Literal["softmax", "sigmoid"] = "softmax"
    patch_dropout: float = 0.0
    max_bad_share: float = 0.01
    init: str = ""
    adapt: Adapt = field(default_factory=Adapt)
    compute: Compute = field(default_factory=Compute)
    checkpoint_every: int = 500
    checkpoint_minutes: float = 0.0
    keep_checkpoints: int = 2
    eval_every: int = 500
    log_every: int = 10

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "steps",
            "captions",
            "checkpoint_every",
            "keep_checkpoints",
            "eval_every",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if self.seed < 0:
            raise ConfigError(f"seed: got {self.seed}, expected 0 or more")
        if self.model.vision is None or self.model.text is None:
            raise ConfigError("model: got one tower, expected both")
        if self.model.logit_bias != (self.loss == "sigmoid"):
            raise ConfigError(
                f"model.logit_bias: got {self.model.logit_bias} with loss={self.loss!r}, "
                "expected True with 'sigmoid' and False with 'softmax'"
            )
        if not 0 <= self.patch_dropout < 1 or not 0 <= self.max_bad_share <= 1:
            raise ConfigError(
                f"patch_dropout, max_bad_share: got {self.patch_dropout}, {self.max_bad_share}, "
                "expected shares from 0 to 1"
            )
        if self.patch_dropout and not isinstance(self.model.vision, ViTConfig):
            raise ConfigError("patch_dropout: got a ResNet, expected a vision transformer")
        if not self.init and self.adapt != Adapt():
            raise ConfigError("init: got none with settings of adapt, expected a model to adapt")
        if not 0 <= self.checkpoint_minutes < math.inf:
            raise ConfigError(
                f"checkpoint_minutes: got {self.checkpoint_minutes}, expected 0 or more"
            )


DRAWINGS = Augmentation(
    crop_side=0.88, rotate=10.0, stretch=0.1, colour=0.08, brightness=0.05, grey=0.05
)


def icons_demo() -> Recipe:
    """Three minutes on two cores: a small ResNet learns the shipped emoji from nothing."""
    return Recipe(
        name="icons-demo",
        model=presets.icons_demo(),
        batch_size=256,
        steps=250,
        captions=3,
        optim=OptimConfig(lr=2e-3, warmup_steps=30, weight_decay=0.1, ema_decay=0.97),
        augment=DRAWINGS,
        checkpoint_every=100,
        eval_every=125,
    )


def icons_tiny() -> Recipe:
    """Half an hour on two cores."""
    return Recipe(
        name="icons-tiny",
        model=presets.icons_tiny(),
        batch_size=256,
        steps=2500,
        captions=3,
        optim=OptimConfig(lr=2e-3, warmup_steps=150, weight_decay=0.1, ema_decay=0.995),
        augment=DRAWINGS,
        checkpoint_every=100,
    )


def icons_small() -> Recipe:
    """For the embedded model `icons`: an hour and three quarters on two cores."""
    return Recipe(
        name="icons-small",
        model=presets.icons_small(),
        batch_size=256,
        steps=5000,
        captions=3,
        optim=OptimConfig(
            lr=2e-3, warmup_steps=200, weight_decay=0.1, clip_norm=1.0, ema_decay=0.998
        ),
        augment=DRAWINGS,
        checkpoint_every=100,
    )


def finetune_contrastive(init: str, model: CLIPConfig) -> Recipe:
    """On pairs of another kind than the model knows, gently: what it knows is to stay."""
    return Recipe(
        name="finetune-contrastive",
        init=init,
        model=model,
        batch_size=128,
        steps=500,
        loss="sigmoid" if model.logit_bias else "softmax",
        optim=OptimConfig(
            lr=1e-4, warmup_steps=50, weight_decay=0.1, clip_norm=1.0, ema_decay=0.99
        ),
        adapt=Adapt(layer_decay=0.8),
        checkpoint_every=100,
        eval_every=100,
    )


def finetune_classifier(init: str, model: CLIPConfig) -> Recipe:
    """To a closed set of classes, from a linear probe."""
    return replace(
        finetune_contrastive(init, model),
        name="finetune-classifier",
        adapt=Adapt(layer_decay=0.8, head="linear-probe", label_smoothing=0.1),
    )


def lit(init: str, model: CLIPConfig) -> Recipe:
    """The text tower learns to read a locked image tower (LiT, Zhai et al. 2022)."""
    return replace(
        finetune_contrastive(init, model), name="lit", adapt=Adapt(unlocked_image_layers=0)
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "icons-demo": icons_demo,
    "icons-tiny": icons_tiny,
    "icons-small": icons_small,
}


FINETUNING: dict[str, Callable[[str, CLIPConfig], Recipe]] = {
    "finetune-contrastive": finetune_contrastive,
    "finetune-classifier": finetune_classifier,
    "lit": lit,
}


def recipe_named(name: str, init: str = "") -> Recipe:
    """The recipe of that name.

    Args:
        name: Of `RECIPES` or `FINETUNING`.
        init: The model to start from, whose configuration becomes the recipe's; those of
            `FINETUNING` want one.

    Raises:
        ConfigError: A model to start from is missing.
        UnknownNameError: There is none; close names are suggested.
    """
    if name not in RECIPES and name not in FINETUNING:
        raise UnknownNameError("recipe", name, [*RECIPES, *FINETUNING])
    if not init:
        if name in FINETUNING:
            raise ConfigError(f"init: got none for {name!r}, expected a model such as icons")
        return RECIPES[name]()
    model = open_checkpoint(hub.resolve(init)).config
    if name in FINETUNING:
        return FINETUNING[name](init, model)
    loss = "sigmoid" if model.logit_bias else "softmax"
    return replace(RECIPES[name](), init=init, model=model, loss=loss)
