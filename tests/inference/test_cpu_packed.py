"""A twin of a tower that answers faster, and the same."""

import pytest
import torch
import torch.nn.functional as F

from tests.tiny import tiny_clip, tiny_config
from twinlens.config import Activation, ViTConfig
from twinlens.inference.cpu_packed import PackedLinear, can_pack, pack_for_inference
from twinlens.model.clip import CLIP, build_image_tower
from twinlens.model.precision import move_model
from twinlens.model.text import TextTransformer

ACTIVATIONS: tuple[Activation, ...] = ("quick_gelu", "gelu", "gelu_tanh")
pytestmark = pytest.mark.skipif(not can_pack(torch.zeros(1)), reason="no packed kernels here")


def vision(activation: Activation, pooling: str) -> ViTConfig:
    return ViTConfig(
        image_size=32,
        patch_size=16,
        width=32,
        layers=2,
        heads=2,
        activation=activation,
        pooling=pooling,  # pyright: ignore[reportArgumentType]
        projection="none" if pooling == "attention" else "linear",
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pooling", ["class", "attention"])
def test_an_image_tower_has_a_twin_that_answers_the_same(activation: Activation, pooling: str):
    config = vision(activation, pooling)
    torch.manual_seed(0)
    tower = build_image_tower(config, 32)
    tower.init_weights()
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        twin = pack_for_inference(tower)
        assert sum(isinstance(module, PackedLinear) for module in twin.modules()) >= 8
        torch.testing.assert_close(twin(pixels), tower(pixels), rtol=1e-4, atol=1e-5)


def test_batch_norms_go_into_their_convolutions():
    model = tiny_clip("resnet")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)  # pyright: ignore[reportArgumentType]
            torch.nn.init.uniform_(module.running_var, 0.5, 2)  # pyright: ignore[reportArgumentType]
            torch.nn.init.uniform_(module.weight, 0.5, 2)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        twin = pack_for_inference(model.image_tower)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in twin.modules())
        torch.testing.assert_close(twin(pixels), model.image_tower(pixels), rtol=1e-3, atol=1e-5)


def test_bf16_twins_stay_close_to_float32():
    model = tiny_clip()
    pixels = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        exact = model.encode_image(pixels)
        half = pack_for_inference(
            move_model(tiny_clip(), torch.device("cpu"), torch.bfloat16).image_tower
        )
        assert F.cosine_similarity(half(pixels.bfloat16()).float(), exact).min() > 0.999


def test_the_tower_itself_stays_plain_and_shares_what_is_not_packed():
    tower = tiny_clip().text_tower
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    twin = pack_for_inference(tower)
    assert isinstance(twin, TextTransformer)
    assert twin.token_embedding.weight is tower.token_embedding.weight
    after = tower.state_dict()
    assert list(after) == list(before)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0)
    tower(torch.tensor([[1, 63]])).sum().backward()  # as before, with gradients
    assert tower.token_embedding.weight.grad is not None


def test_a_tower_on_another_device_is_not_packed():
    with torch.device("meta"):
        model = CLIP(tiny_config())
    twin = pack_for_inference(model.image_tower)
    assert not any(isinstance(module, PackedLinear) for module in twin.modules())
