"""The plan of memory against real tensors."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, UntypedStorage, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.tiny import tiny_config
from twinlens.config import CLIPConfig
from twinlens.model import presets
from twinlens.model.clip import CLIP
from twinlens.model.precision import move_model
from twinlens.train.finetune.layers import lock_layers, set_train_mode
from twinlens.train.optim import MasterAdamW, OptimConfig
from twinlens.train.planning.memory import ParameterCounts, estimate_device_memory
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.recipe import ComputeConfig, Recipe

SIZES = ParameterCounts(total=1_000_000, trained=1_000_000, largest_block=1000)


def recipe_of(model: CLIPConfig, **changes: object) -> Recipe:
    recipe = Recipe(name="planned", model=model, batch_size=8, steps=2, optim=OptimConfig())
    return replace(recipe, **changes)


def planned(recipe: Recipe, *, devices: int = 1, size: int = 4, tokens: float = 12):
    return estimate_device_memory(
        recipe, SIZES, num_devices=devices, bytes_per_element=size, caption_tokens=tokens
    )


def kept_by(tower: nn.Module, inputs: Tensor) -> int:
    """Bytes of distinct memory that autograd keeps, weights left out."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in tower.parameters()}
    weights |= {tensor.untyped_storage().data_ptr() for tensor in tower.buffers()}
    kept: dict[int, UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        sdpa_kernel([SDPBackend.FLASH_ATTENTION]),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        assert tower(inputs).requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def tiny_siglip() -> CLIPConfig:
    config = presets.siglip_vit_b_16()
    return replace(
        config,
        embed_dim=64,
        vision=replace(config.vision, image_size=64, layers=2, width=64, heads=2),
        text=replace(config.text, context_length=16, vocab_size=100, layers=2, width=64, heads=2),
        preprocess=replace(config.preprocess, image_size=64),
        logit_bias=False,
    )


VIT_64 = replace(
    presets.vit_b_32(),
    vision=replace(presets.vit_b_32().vision, image_size=64, layers=3, width=128, heads=2),
    preprocess=replace(presets.vit_b_32().preprocess, image_size=64),
)


@pytest.mark.parametrize(
    "config",
    [VIT_64, presets.icons_small(), presets.icons_demo(), tiny_siglip()],
    ids=["vit", "resnet", "small resnet", "siglip"],
)
@pytest.mark.parametrize("size", [2, 4], ids=["bf16", "fp32"])
def test_activations_are_those_that_autograd_keeps(config: CLIPConfig, size: int):
    dtype = {2: torch.bfloat16, 4: torch.float32}[size]
    model = move_model(CLIP(config), torch.device("cpu"), dtype).train()
    images = torch.randn(2, 3, *[config.preprocess_config.image_size] * 2, dtype=dtype)
    texts = torch.zeros(2, 16, dtype=torch.long)
    texts[:, -1] = 1
    recipe = recipe_of(config, batch_size=2)
    plan, without_texts = (planned(recipe, size=size, tokens=n).activations_whole for n in (16, 0))
    if config.text.causal:
        words = kept_by(model.text_tower, texts)
        assert plan - without_texts == pytest.approx(words, rel=0.01)
        assert without_texts == pytest.approx(kept_by(model.image_tower, images), rel=0.04)
    else:  # whose texts are always whole
        words = kept_by(model.text_tower, texts)
        assert plan == pytest.approx(words + kept_by(model.image_tower, images), rel=0.04)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_and_state_are_those_of_the_optimiser(dtype: torch.dtype):
    config = tiny_config("vit", vocab_size=5000)
    model = move_model(CLIP(config), torch.device("cpu"), dtype)
    optimizer = MasterAdamW(model, OptimConfig())
    count = sum(parameter.numel() for parameter in model.parameters())
    sizes = ParameterCounts(total=count, trained=count, largest_block=0)
    plan = estimate_device_memory(
        recipe_of(config), sizes, num_devices=1, bytes_per_element=dtype.itemsize, caption_tokens=8
    )

    def total(tensors) -> int:
        return sum(tensor.nbytes for tensor in tensors)

    states = optimizer.adamw.state.values()
    assert plan.weights == pytest.approx(total(model.parameters()), rel=0.001)
    apart = [
        m
        for m, p in zip(optimizer.master_weights, optimizer.working_weights, strict=True)
        if m is not p
    ]
    assert plan.masters == pytest.approx(total(apart), rel=0.001)
    moments = total(state[key] for state in states for key in ("exp_avg", "exp_avg_sq"))
    assert plan.moments == moments
    assert plan.average == 0
    averaged = recipe_of(config, optim=OptimConfig(ema_decay=0.9))
    assert planned(averaged).average == 4 * SIZES.total


def test_fsdp_shares_what_ddp_repeats():
    whole = planned(recipe_of(tiny_config()), devices=4)
    shared = planned(recipe_of(tiny_config(), compute=ComputeConfig(parallel="fsdp")), devices=4)
    for part in ("weights", "gradients", "masters", "moments"):
        assert getattr(shared, part) == getattr(whole, part) / 4
    assert (whole.gathered_blocks, shared.gathered_blocks) == (0, 16 * SIZES.largest_block)
    assert shared.activations_whole == whole.activations_whole


def test_parts_and_tiles_save_what_they_promise():
    recipe = recipe_of(presets.vit_b_32(), batch_size=32_768)
    one = planned(recipe, devices=8, size=2)
    parts = planned(replace(recipe, compute=ComputeConfig(accum_freq=16)), devices=8, size=2)
    assert parts.activations_whole == one.activations_whole / 16
    assert parts.similarities_dense == one.similarities_dense == 4 * 4 * 4096 * 32_768
    assert one.similarities_tiled == 4 * 4 * 4096 * 4096
    assert one.activations_checkpointed < one.activations_whole / 3
    assert (
        one.breakdown(is_checkpointed=True, is_tiled=False)["activations"]
        == one.activations_checkpointed
    )


@pytest.mark.parametrize(
    "config", [VIT_64, presets.icons_demo(), tiny_siglip()], ids=["vit", "resnet", "siglip"]
)
@pytest.mark.parametrize("unlocked", [0, 1])
def test_locked_blocks_keep_nothing(config: CLIPConfig, unlocked: int):
    adapt = AdaptConfig(unlocked_image_layers=unlocked, unlocked_text_layers=0)
    model = CLIP(config)
    lock_layers(model, adapt)
    set_train_mode(model)
    images = torch.randn(2, 3, *[config.preprocess_config.image_size] * 2)
    plan = planned(recipe_of(config, batch_size=2, adapt=adapt, init="some")).activations_whole
    assert plan == pytest.approx(kept_by(model.image_tower, images) if unlocked else 0, rel=0.1)


def test_only_what_is_trained_has_gradients_and_state():
    sizes = replace(SIZES, trained=1000)
    recipe = recipe_of(tiny_config(), optim=OptimConfig(ema_decay=0.9))
    plan = estimate_device_memory(
        recipe, sizes, num_devices=1, bytes_per_element=2, caption_tokens=12
    )
    assert plan.weights == 2_000_000
    assert plan.gradients == plan.masters == plan.average == plan.moments / 2 == 4000
