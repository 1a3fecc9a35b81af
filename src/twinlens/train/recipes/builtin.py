"""Recipes by name: functions that return a frozen `Recipe`; small ones are defined here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twinlens.checkpoints.recognise import open_checkpoint
from twinlens.config import CLIPConfig
from twinlens.data.augment import Augmentation
from twinlens.errors import ConfigError, require_known
from twinlens.hub.resolve import resolve
from twinlens.model import presets
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes import paper
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.recipe import Recipe

DRAWING_AUGMENTATION = Augmentation(
    min_crop_side=0.88,
    max_rotation=10.0,
    max_stretch=0.1,
    colour_std=0.08,
    brightness_std=0.05,
    greyscale_probability=0.05,
)


def icons_demo() -> Recipe:
    """Train a small ResNet on the shipped emoji from random weights: 3 minutes on two cores."""
    return Recipe(
        name="icons-demo",
        model=presets.icons_demo(),
        batch_size=256,
        steps=250,
        captions_per_image=3,
        optim=OptimConfig(lr=2e-3, warmup_steps=30, weight_decay=0.1, ema_decay=0.97),
        augment=DRAWING_AUGMENTATION,
        checkpoint_every=100,
        eval_every=125,
    )


def icons_tiny() -> Recipe:
    """Train the tiny icon model: half an hour on two cores."""
    return Recipe(
        name="icons-tiny",
        model=presets.icons_tiny(),
        batch_size=256,
        steps=2500,
        captions_per_image=3,
        optim=OptimConfig(lr=2e-3, warmup_steps=150, weight_decay=0.1, ema_decay=0.995),
        augment=DRAWING_AUGMENTATION,
        checkpoint_every=100,
    )


def icons_small() -> Recipe:
    """Train the embedded model `icons`: 1.75 hours on two cores."""
    return Recipe(
        name="icons-small",
        model=presets.icons_small(),
        batch_size=256,
        steps=5000,
        captions_per_image=3,
        optim=OptimConfig(
            lr=2e-3, warmup_steps=200, weight_decay=0.1, grad_clip_norm=1.0, ema_decay=0.998
        ),
        augment=DRAWING_AUGMENTATION,
        checkpoint_every=100,
    )


def finetune_contrastive(init: str, model: CLIPConfig) -> Recipe:
    """Fine-tune contrastively at a low learning rate, to keep what the model has learned."""
    return Recipe(
        name="finetune-contrastive",
        init=init,
        model=model,
        batch_size=128,
        steps=500,
        loss="sigmoid" if model.logit_bias else "softmax",
        optim=OptimConfig(
            lr=1e-4, warmup_steps=50, weight_decay=0.1, grad_clip_norm=1.0, ema_decay=0.99
        ),
        adapt=AdaptConfig(layer_decay=0.8),
        checkpoint_every=100,
        eval_every=100,
    )


def finetune_classifier(init: str, model: CLIPConfig) -> Recipe:
    """Fine-tune a classifier head and the image tower, from a linear probe."""
    return replace(
        finetune_contrastive(init, model),
        name="finetune-classifier",
        adapt=AdaptConfig(layer_decay=0.8, head="linear-probe", label_smoothing=0.1),
    )


def lit(init: str, model: CLIPConfig) -> Recipe:
    """Train the text tower for a locked image tower (LiT, Zhai et al. 2022)."""
    return replace(
        finetune_contrastive(init, model), name="lit", adapt=AdaptConfig(unlocked_image_layers=0)
    )


PRETRAIN_RECIPES: dict[str, Callable[[], Recipe]] = {
    "icons-demo": icons_demo,
    "icons-tiny": icons_tiny,
    "icons-small": icons_small,
    **paper.RECIPES,
}


FINETUNE_RECIPES: dict[str, Callable[[str, CLIPConfig], Recipe]] = {
    "finetune-contrastive": finetune_contrastive,
    "finetune-classifier": finetune_classifier,
    "lit": lit,
}


def find_recipe(name: str, init: str = "") -> Recipe:
    """Find a recipe by name.

    Args:
        name: A key of `PRETRAIN_RECIPES` or `FINETUNE_RECIPES`.
        init: The model to start from, whose configuration becomes the recipe's;
            `FINETUNE_RECIPES` need one.

    Raises:
        ConfigError: A model to start from is missing.
        UnknownNameError: There is no such recipe; close names are suggested.
    """
    require_known("recipe", name, [*PRETRAIN_RECIPES, *FINETUNE_RECIPES])
    if not init:
        if name in FINETUNE_RECIPES:
            raise ConfigError(f"init: got none for {name!r}, expected a model such as icons")
        return PRETRAIN_RECIPES[name]()
    model = open_checkpoint(resolve(init)).config
    if name in FINETUNE_RECIPES:
        return FINETUNE_RECIPES[name](init, model)
    loss = "sigmoid" if model.logit_bias else "softmax"
    return replace(PRETRAIN_RECIPES[name](), init=init, model=model, loss=loss)
