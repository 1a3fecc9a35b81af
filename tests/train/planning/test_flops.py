"""The formulas against torch's own counter, which sees every product."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.tiny import tiny_config
from twinlens.config import CLIPConfig, ResNetConfig
from twinlens.model import presets
from twinlens.model.clip import CLIP
from twinlens.model.flops import block_flops, image_flops, text_flops
from twinlens.model.loss.contrastive import contrastive_loss
from twinlens.train.finetune.layers import lock_layers
from twinlens.train.planning.flops import (
    pair_cost,
    recipe_image_cost,
    recipe_text_cost,
    similarity_cost,
)
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.builtin import find_recipe
from twinlens.train.recipes.recipe import Recipe

MODELS = {
    "tiny vit": lambda: tiny_config("vit"),
    "tiny resnet": lambda: tiny_config("resnet"),
    "icons-small": presets.icons_small,
    "vit-b-32": presets.vit_b_32,
    "vit-l-14-336": presets.vit_l_14_336,
    "rn50": presets.rn50,
    "rn50x64": presets.rn50x64,
    "siglip": presets.siglip_vit_b_16,
}


@pytest.fixture(params=MODELS)
def config(request: pytest.FixtureRequest) -> CLIPConfig:
    return MODELS[request.param]()


def meta_model(config: CLIPConfig) -> CLIP:
    with torch.device("meta"):
        return CLIP(config)


def counted(run) -> tuple[int, int]:
    """Operations forward, and forward and backward."""
    with sdpa_kernel([SDPBackend.MATH]), FlopCounterMode(display=False) as counter:
        result = run()
        forward = counter.get_total_flops()
        result.sum().backward()
    return forward, counter.get_total_flops()


def test_images_cost_what_torch_counts(config: CLIPConfig):
    model = meta_model(config)
    size = config.preprocess_config.image_size
    images = torch.empty(2, 3, size, size, device="meta")
    cost = image_flops(config.vision, config.embed_dim).scaled(2)
    assert (cost.forward, cost.training) == counted(lambda: model.encode_image(images))


def test_texts_cost_what_torch_counts(config: CLIPConfig):
    tower = meta_model(config).text_tower
    length = config.text.context_length

    def encode():  # what `forward` does where values, and with them lengths, are known
        tokens = torch.zeros(2, length, dtype=torch.long, device="meta")
        x = tower.token_embedding(tokens) + tower.positional_embedding
        end = torch.full((2,), length - 1, device="meta")
        pooled = tower.final_norm(tower.transformer.forward_pooled(x, end))
        pooled = pooled @ tower.projection if tower.projection is not None else pooled
        return pooled if tower.projection_bias is None else pooled + tower.projection_bias

    cost = text_flops(config.text, config.embed_dim, length).scaled(2)
    assert (cost.forward, cost.training) == counted(encode)


def test_similarities_cost_what_torch_counts():
    config = tiny_config()
    image, text = torch.randn(2, 6, 8, requires_grad=True)
    cost = similarity_cost(config, 6).scaled(6)
    found = counted(lambda: contrastive_loss(image, text, torch.zeros(())))
    assert (cost.forward, cost.training) == found


def test_vit_b_32_takes_the_known_8_8_billion_operations_a_image_but_for_its_last_block():
    config = presets.vit_b_32()
    image = image_flops(config.vision, 512)
    last, last_everywhere = (
        block_flops(config.vision, 50, pooled=pooled)[-1] for pooled in (True, False)
    )
    everywhere = image.forward - last.forward + last_everywhere.forward
    assert everywhere == pytest.approx(8.8e9, rel=0.01)
    assert image.forward == pytest.approx(8.29e9, rel=0.001)


def test_short_captions_cost_less_where_the_tower_allows_it():
    causal, both_ways = presets.vit_b_32(), presets.siglip_vit_b_16()
    assert text_flops(causal.text, 512, 16).forward < text_flops(causal.text, 512, 77).forward / 4
    assert text_flops(both_ways.text, 768, 16) == text_flops(both_ways.text, 768, 64)


def test_a_pair_has_one_image_and_all_its_captions():
    recipe = find_recipe("openai-vit-b-16")
    one, three = pair_cost(recipe), pair_cost(replace(recipe, captions_per_image=3))
    image = image_flops(recipe.model.vision, 512)
    assert three.training - image.training == 3 * (one.training - image.training)
    halved = pair_cost(replace(recipe, patch_dropout=0.5))
    assert halved.forward < 0.55 * one.forward


@pytest.mark.parametrize("name", ["tiny vit", "tiny resnet", "vit-b-32", "rn50", "siglip"])
@pytest.mark.parametrize("unlocked", [1, 2])
def test_locked_layers_cost_the_pass_forward_alone(name: str, unlocked: int):
    recipe = Recipe(
        name="some",
        model=replace(MODELS[name](), logit_bias=False),
        batch_size=2,
        steps=1,
        init="some",
        adapt=AdaptConfig(unlocked_image_layers=unlocked),
    )
    model = meta_model(recipe.model)
    lock_layers(model, recipe.adapt)
    size = recipe.model.preprocess_config.image_size
    images = torch.empty(2, 3, size, size, device="meta")
    cost = recipe_image_cost(recipe).scaled(2)
    forward, training = counted(lambda: model.encode_image(images))
    assert cost.forward == forward
    # The first convolution that is trained wants no gradient of its input.
    assert cost.training == pytest.approx(
        training, rel=0.03 if isinstance(recipe.model.vision, ResNetConfig) else 0
    )


def test_a_locked_tower_costs_no_gradient_and_a_classifier_no_text():
    recipe = find_recipe("openai-vit-b-32")
    lit = replace(recipe, init="some", adapt=AdaptConfig(unlocked_image_layers=0))
    assert recipe_image_cost(lit).training == recipe_image_cost(recipe).forward
    assert recipe_text_cost(lit, 16) == recipe_text_cost(recipe, 16)
    classifier = replace(recipe, init="some", adapt=AdaptConfig(head="linear-probe"))
    assert pair_cost(classifier) == recipe_image_cost(recipe)


def test_adapters_need_the_gradient_of_what_goes_in():
    recipe = replace(find_recipe("openai-vit-b-32"), init="some", adapt=AdaptConfig(lora_rank=8))
    model = meta_model(recipe.model)
    for name, parameter in model.named_parameters():
        # What an adapter adds to a layer's output, in place of two small products.
        parameter.requires_grad_(name.endswith("bias") and ".blocks." in name)
    _, training = counted(lambda: model.encode_image(torch.empty(2, 3, 224, 224, device="meta")))
    assert recipe_image_cost(recipe).scaled(2).training == pytest.approx(training, rel=0.02)
