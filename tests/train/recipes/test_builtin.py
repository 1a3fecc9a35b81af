"""Recipes: known by name, buildable, and their mistakes named."""

import re

import pytest
import torch

from twinlens.config_io import apply_overrides, from_dict, to_dict
from twinlens.data.augment import Augmentation
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model import presets
from twinlens.model.clip import CLIP
from twinlens.train.recipes import paper
from twinlens.train.recipes.builtin import PRETRAIN_RECIPES, Recipe, find_recipe


@pytest.mark.parametrize("name", PRETRAIN_RECIPES)
def test_every_recipe_builds_and_survives_json(name: str):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    with torch.device("meta"):
        CLIP(recipe.model)


def test_unknown_names_suggest_close_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'icons-demo'"):
        find_recipe("icon-demo")


@pytest.mark.parametrize("setting", ["steps=0", "batch_size=-1", "log_every=0"])
def test_impossible_settings_are_refused(setting: str):
    with pytest.raises(ConfigError, match="expected 1 to"):
        apply_overrides(find_recipe("icons-demo"), [setting])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.logit_bias=true"], "model.logit_bias: got True, expected False for loss=softmax"),
        (["loss=sigmoid"], "model.logit_bias: got False, expected True for loss=sigmoid"),
        (["loss=hinge"], "Recipe.loss: got 'hinge', expected one of"),
        (["max_bad_fraction=1.5"], "max_bad_fraction: got 1.5, expected within [0, 1]"),
        (["patch_dropout=1"], "patch_dropout: got 1.0, expected within [0, 1)"),
        (["patch_dropout=0.5"], "patch_dropout: got 0.5, expected 0: a ResNet has no patches"),
        (["compute.accum_freq=0"], "compute.accum_freq: got 0, expected 1 to"),
        (["compute.loss_tile_size=-1"], "compute.loss_tile_size: got -1, expected 0 to"),
        (["compute.parallel=tp"], "compute.parallel: got 'tp', expected one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: list[str], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        apply_overrides(find_recipe("icons-demo"), settings)


def test_the_sigmoid_loss_and_its_bias_are_set_together():
    recipe = apply_overrides(find_recipe("icons-demo"), ["model.logit_bias=true", "loss=sigmoid"])
    assert recipe.loss == "sigmoid"


def test_full_scale_is_the_paper_s():
    for name, make in paper.RECIPES.items():
        recipe = make()
        assert (recipe.name, recipe.batch_size) == (name, 32_768)
        assert recipe.augment == Augmentation()
    vit, resnet = paper.RECIPES["openai-vit-b-32"](), paper.RECIPES["openai-rn50"]()
    assert vit.steps * vit.batch_size == 32 * 400_000_000
    assert (vit.optim.betas, vit.optim.eps) == ((0.9, 0.98), 1e-6)
    assert (resnet.optim.betas, resnet.optim.eps) == ((0.9, 0.999), 1e-8)
    assert (vit.optim.weight_decay, vit.optim.warmup_steps) == (0.2, 2000)
    more = paper.RECIPES["openai-vit-l-14-336"]()
    assert 0 <= more.steps * more.batch_size - 400_000_000 < more.batch_size
    rates = {name: make().optim.lr for name, make in paper.RECIPES.items()}
    assert set(rates.values()) == {5e-4, 4e-4, 3.6e-4, 2e-5, 1e-3}
    assert (rates["openai-rn50x64"], rates["openai-vit-l-14"]) == (3.6e-4, 4e-4)


def test_siglip_s_architecture_is_that_of_the_release():
    with torch.device("meta"):
        model = CLIP(presets.siglip_vit_b_16())
    ours = sum(parameter.numel() for parameter in model.parameters())
    assert ours - (49408 - 32000) * 768 == 203_155_970  # google/siglip-base-patch16-224
