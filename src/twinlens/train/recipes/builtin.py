"""Recipes by name: functions that return a frozen configuration, the small ones written here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twinlens import hub
from twinlens.checkpoints.reader import open_checkpoint
from twinlens.config import CLIPConfig
from twinlens.data.augment import Augmentation
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model import presets
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes import paper
from twinlens.train.recipes.adapt import Adapt
from twinlens.train.recipes.recipe import Recipe

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
    **paper.RECIPES,
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
