"""Recipes by name: functions that return a frozen configuration, the small ones written here."""

from __future__ import annotations

from collections.abc import Callable

from twinlens.data.augment import Augmentation
from twinlens.errors import UnknownNameError
from twinlens.model import presets
from twinlens.train import paper
from twinlens.train.optim import OptimConfig
from twinlens.train.recipe import Recipe

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


RECIPES: dict[str, Callable[[], Recipe]] = {
    "icons-demo": icons_demo,
    "icons-tiny": icons_tiny,
    "icons-small": icons_small,
    **paper.RECIPES,
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: There is none; close names are suggested.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]()
