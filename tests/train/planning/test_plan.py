"""A plan: of the recipe, on the devices, with what was assumed."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import tiny_config
from twinlens.errors import ConfigError
from twinlens.model.clip import CLIP
from twinlens.train.finetune.layers import lock_layers
from twinlens.train.finetune.lora import add_lora
from twinlens.train.planning.devices import KNOWN_DEVICES, DeviceGroup
from twinlens.train.planning.plan import PlanAssumptions, TrainingPlan, plan_training
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.builtin import PRETRAIN_RECIPES, find_recipe
from twinlens.train.recipes.recipe import ComputeConfig, Recipe


def plan_of(recipe: Recipe | str, *groups: tuple[int, str], **assumed: float) -> TrainingPlan:
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    chosen = [DeviceGroup(count, KNOWN_DEVICES[name]) for count, name in groups or [(8, "H100")]]
    return plan_training(recipe, chosen, PlanAssumptions(**assumed))


@pytest.mark.parametrize("name", PRETRAIN_RECIPES)
def test_parameters_are_the_model_s(name: str):
    plan = plan_of(name)
    with torch.device("meta"):
        model = CLIP(find_recipe(name).model)
    counts = plan.parameters
    assert counts["total"] == sum(parameter.numel() for parameter in model.parameters())
    assert counts["total"] == counts["image_tower"] + counts["text_tower"] + counts["other"]
    assert counts["other"] == (2 if name.startswith("siglip") else 1)


def test_the_paper_s_largest_vit_takes_days_on_hundreds_of_devices():
    """12 days on 256 V100 are 18% of their float16 peak for the same operations."""
    plan = plan_of("openai-vit-l-14")
    peak = 256 * 125e12 * 12 * 86_400
    assert plan.operations.run / peak == pytest.approx(0.1845, abs=0.001)


def test_time_and_cost_follow_devices_utilisation_and_price():
    one = plan_of("openai-vit-b-32", (8, "H100"), mfu=0.2).groups[0]
    double = plan_of("openai-vit-b-32", (16, "H100"), mfu=0.4, price=1.0).groups[0]
    assert one.seconds == pytest.approx(4 * double.seconds)
    assert double.cost == pytest.approx(double.device_hours) == pytest.approx(one.cost / 8)
    expected = 8 * 989e12 * 0.2 / plan_of("openai-vit-b-32").operations.pair_executed
    assert one.pairs_per_second == pytest.approx(expected)


def test_storage_must_give_what_the_devices_take():
    group = plan_of("openai-vit-b-32", sample_kb=50, shard_samples=1000).groups[0]
    assert group.images_per_second == group.pairs_per_second
    assert group.megabytes_per_second == pytest.approx(group.images_per_second * 0.05)
    assert group.shards_per_second == pytest.approx(group.images_per_second / 1000)


def test_what_is_computed_twice_costs_time_but_is_not_counted_as_the_model_s():
    plain = replace(find_recipe("openai-vit-b-32"), compute=ComputeConfig())
    thrifty = replace(
        plain, compute=ComputeConfig(accum_freq=4, loss_tile_size=512, checkpoint_activations=True)
    )
    once, twice = plan_of(plain).operations, plan_of(thrifty).operations
    assert once.pair_executed == once.pair_training == twice.pair_training
    assert twice.pair_executed / once.pair_executed == pytest.approx(5 / 3, rel=0.01)


def test_precision_is_what_the_device_has():
    recipe = find_recipe("openai-vit-b-32")
    auto = plan_of(recipe, (8, "H100"), (8, "V100"))
    assert [group.precision for group in auto.groups] == ["bf16", "fp32"]
    assert sum("no bf16" in note for note in auto.notes) == 1
    full = plan_of(replace(recipe, precision="fp32")).groups[0]
    assert full.precision == "fp32"
    assert full.pairs_per_second == pytest.approx(auto.groups[0].pairs_per_second * 67 / 989)
    assert full.memory.weights == 2 * auto.groups[0].memory.weights


def test_what_does_not_fit_says_what_would():
    recipe = replace(find_recipe("openai-vit-l-14"), compute=ComputeConfig())
    plan = plan_of(recipe, (8, "H100"))
    assert not plan.groups[0].fits
    freq = plan.groups[0].accum_freq_that_fits
    assert freq is not None
    assert f"8xH100: does not fit; --set compute.accum_freq={freq} would" in plan.notes
    finer = plan_of(replace(recipe, compute=ComputeConfig(accum_freq=freq)), (8, "H100"))
    assert finer.groups[0].fits
    assert not finer.notes
    coarser = plan_of(replace(recipe, compute=ComputeConfig(accum_freq=freq // 2)), (8, "H100"))
    assert not coarser.groups[0].fits


def test_where_nothing_fits_other_ways_are_named():
    recipe = replace(find_recipe("openai-vit-b-32"), compute=ComputeConfig(), batch_size=2**20)
    [note] = plan_of(recipe, (1, "L4")).notes
    assert "nor with a larger accum_freq; try compute.checkpoint_activations=true" in note
    assert "more devices" in note


def test_a_batch_that_does_not_divide_is_noted():
    [note] = plan_of("openai-vit-b-32", (592, "A100-80")).notes
    assert "a batch of 32,768 does not divide into 592 parts" in note


@pytest.mark.parametrize(
    ("assumed", "message"),
    [
        ({"mfu": 0.0}, "--mfu: got 0.0"),
        ({"mfu": 1.5}, "--mfu: got 1.5"),
        ({"caption_tokens": 0}, "--caption-tokens: got 0"),
        ({"sample_kb": -1}, "--sample-kb: got -1"),
        ({"price": -1}, "--price-per-hour: got -1"),
    ],
)
def test_impossible_assumptions_are_refused(assumed: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        PlanAssumptions(**assumed)


@pytest.mark.parametrize(
    "adapt",
    [
        AdaptConfig(unlocked_image_layers=0),
        AdaptConfig(unlocked_image_layers=1, unlocked_text_layers=1),
        AdaptConfig(head="linear-probe", unlocked_image_layers=2),
        AdaptConfig(lora_rank=4),
        AdaptConfig(lora_rank=2, unlocked_text_layers=1),
    ],
    ids=str,
)
def test_what_is_trained_is_what_the_optimiser_gets(adapt: AdaptConfig):
    recipe = Recipe(
        name="some", model=tiny_config("vit"), batch_size=8, steps=1, adapt=adapt, init="some"
    )
    model = CLIP(recipe.model)
    lock_layers(model, adapt)
    if adapt.lora_rank:
        add_lora(model, adapt)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    plan = plan_of(recipe)
    assert plan.parameters["trained"] == sum(parameter.numel() for parameter in trained)
    moments = sum(2 * 4 * parameter.numel() for parameter in trained)
    assert plan.groups[0].memory.moments == moments
    every = sum(parameter.numel() for parameter in model.parameters())
    assert plan.groups[0].memory.weights == 2 * every
