"""FLOPs of a recipe: those of its model and of the layers that it trains."""

from __future__ import annotations

from dataclasses import replace

from twinlens.config import CLIPConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.model.flops import Flops, image_layer_flops, sum_flops, text_layer_flops
from twinlens.train.finetune.layers import first_trainable_layer
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.recipe import Recipe

DEFAULT_CAPTION_TOKENS = 16.0
"""Assumed mean length of a caption, including start and end tokens: alt texts are short."""


def similarity_cost(model: CLIPConfig, batch_size: int) -> Flops:
    """FLOPs of one pair's similarities with a whole batch."""
    return Flops(2 * batch_size * model.embed_dim)


def pair_cost(recipe: Recipe, caption_tokens: float = DEFAULT_CAPTION_TOKENS) -> Flops:
    """FLOPs of one pair of a recipe: its image, its captions and its similarities.

    Its `training` times pairs per second, as a fraction of a device's peak, is the model FLOPs
    utilisation: recomputation to save memory does not count.
    """
    similarities = recipe_similarity_cost(recipe)
    texts = (recipe_text_cost(recipe, caption_tokens) + similarities).scaled(
        recipe.captions_per_image
    )
    return recipe_image_cost(recipe) + texts


def recipe_image_cost(recipe: Recipe) -> Flops:
    """FLOPs of one image, by the layers that the recipe trains."""
    vision = recipe.model.vision
    assert vision is not None
    layers = image_layer_flops(vision, recipe.model.embed_dim, recipe.patch_dropout)
    return sum_flops(_training_costs(layers, recipe.adapt, "image_tower", vision))


def recipe_text_cost(recipe: Recipe, caption_tokens: float) -> Flops:
    """FLOPs of one text, by the layers that the recipe trains; 0 for a classifier head."""
    if not recipe.needs_captions:
        return Flops(0)
    config = recipe.model.text_config
    layers = text_layer_flops(config, recipe.model.embed_dim, caption_tokens)
    return sum_flops(_training_costs(layers, recipe.adapt, "text_tower", config))


def recipe_similarity_cost(recipe: Recipe) -> Flops:
    """FLOPs of one pair's similarities; a classifier's few classes are not counted."""
    if not recipe.needs_captions:
        return Flops(0)
    return similarity_cost(recipe.model, recipe.batch_size)


def _training_costs(
    layers: list[Flops],
    adapt: AdaptConfig,
    tower: str,
    config: ViTConfig | ResNetConfig | TextConfig,
) -> list[Flops]:
    """Reduce layer costs to what is computed: only the forward pass of locked layers.

    Layers with adapters have the gradient of their inputs too. The adapters' own products are a
    hundredth of the layers' and not counted.
    """
    first = first_trainable_layer(adapt, tower, len(layers) - 1)
    if adapt.lora_rank:  # adapters are at linear layers: a ResNet has them at its end only
        first = max(first, len(layers) - 1 if isinstance(config, ResNetConfig) else 1)
    backward = 1 if adapt.lora_rank else 2
    return [
        replace(cost, no_input_grad=max(cost.no_input_grad, (2 - backward) * cost.forward))
        if number >= first
        else replace(cost, no_input_grad=2 * cost.forward)
        for number, cost in enumerate(layers)
    ]
