"""Recipes: known by name, buildable, and their mistakes named."""

import pytest
import torch

from twinlens.config import from_dict, override, to_dict
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model.clip import CLIP
from twinlens.train.recipes import RECIPES, Recipe, recipe_named


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_and_survives_json(name: str):
    recipe = recipe_named(name)
    assert recipe.name == name
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    with torch.device("meta"):
        CLIP(recipe.model)


def test_unknown_names_suggest_close_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'icons-demo'"):
        recipe_named("icon-demo")


@pytest.mark.parametrize("setting", ["steps=0", "batch_size=-1", "log_every=0"])
def test_impossible_settings_are_refused(setting: str):
    with pytest.raises(ConfigError, match="expected at least 1"):
        override(recipe_named("icons-demo"), [setting])


def test_a_bias_that_the_loss_would_not_use_is_refused():
    with pytest.raises(ConfigError, match=r"model\.logit_bias: got True with loss='softmax'"):
        override(recipe_named("icons-demo"), ["model.logit_bias=true"])
