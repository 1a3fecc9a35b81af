"""Floating-point operations of a recipe: of its model, by what of it is trained."""

from __future__ import annotations

from dataclasses import replace

from twinlens.config import CLIPConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.model.flops import Cost, image_layers, text_layers, total
from twinlens.train.finetune.layers import first_trained
from twinlens.train.recipes.adapt import Adapt
from twinlens.train.recipes.recipe import Recipe

CAPTION_TOKENS = 16.0
"""Mean length that is assumed of a caption, its start and end counted: alt texts are short."""


def similarity_cost(model: CLIPConfig, batch_size: int) -> Cost:
    """One pair's share of all similarities of a batch."""
    return Cost(2 * batch_size * model.embed_dim)


def pair_cost(recipe: Recipe, tokens: float = CAPTION_TOKENS) -> Cost:
    """One pair of a recipe: its image, its captions and its similarities.

    Its `training` times pairs per second, as a share of a device's peak, is the model FLOPs
    utilisation: what is computed twice to save memory does not count.
    """
    similarities = recipe_similarities(recipe)
    texts = (recipe_text(recipe, tokens) + similarities).times(recipe.captions)
    return recipe_image(recipe) + texts


def recipe_image(recipe: Recipe) -> Cost:
    """One image of a recipe, by what it trains of the tower."""
    vision = recipe.model.vision
    assert vision is not None
    layers = image_layers(vision, recipe.model.embed_dim, recipe.patch_dropout)
    return total(_adapted(layers, recipe.adapt, "image_tower", vision))


def recipe_text(recipe: Recipe, tokens: float) -> Cost:
    """One text of a recipe, by what it trains of the tower; a classifier reads none."""
    if recipe.adapt.head != "none":
        return Cost(0)
    config = recipe.model.text_input
    layers = text_layers(config, recipe.model.embed_dim, tokens)
    return total(_adapted(layers, recipe.adapt, "text_tower", config))


def recipe_similarities(recipe: Recipe) -> Cost:
    """One pair's; a classifier's few classes are not counted."""
    if recipe.adapt.head != "none":
        return Cost(0)
    return similarity_cost(recipe.model, recipe.batch_size)


def _adapted(
    layers: list[Cost], adapt: Adapt, tower: str, config: ViTConfig | ResNetConfig | TextConfig
) -> list[Cost]:
    """Of locked layers the pass forward alone; of adapted ones their inputs' gradient, too.

    The adapters' own products are a hundredth of those beside them and not counted.
    """
    first = first_trained(adapt, tower, len(layers) - 1)
    if adapt.lora_rank:  # beside linear layers: none embeds, and a ResNet has them at its end
        first = max(first, len(layers) - 1 if isinstance(config, ResNetConfig) else 1)
    backward = 1 if adapt.lora_rank else 2
    return [
        replace(cost, no_gradient=max(cost.no_gradient, (2 - backward) * cost.forward))
        if number >= first
        else replace(cost, no_gradient=2 * cost.forward)
        for number, cost in enumerate(layers)
    ]
