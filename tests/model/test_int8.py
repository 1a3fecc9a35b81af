"""Linear layers in 8 bits, and what stays as it was."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.tiny import tiny_clip, tiny_config
from twinlens.errors import ConfigError
from twinlens.model.int8 import Int8Linear, Int8WeightOnlyLinear, int8_precision, quantise_int8
from twinlens.model.layers import TransformerBlock


@pytest.mark.parametrize("kind", [Int8Linear, Int8WeightOnlyLinear])
def test_a_layer_in_8_bits_is_close(kind: type[Int8Linear | Int8WeightOnlyLinear]):
    torch.manual_seed(0)
    linear = nn.Linear(64, 96)
    x = torch.randn(2, 5, 64)
    x[0, 0] *= 1000  # an outlier coarsens its own row alone
    with torch.inference_mode():
        answer, expected = kind(linear)(x), linear(x)
        assert answer.shape == expected.shape
        assert answer.dtype == x.dtype
        assert F.cosine_similarity(answer, expected, dim=-1).min() > 0.999
        torch.testing.assert_close(
            kind(linear)(torch.zeros(1, 64)), linear.bias[None], atol=0.01, rtol=0.01
        )


def test_integers_are_symmetric_with_a_scale_an_output():
    linear = nn.Linear(2, 2)
    linear.weight.data = torch.tensor([[1.0, -0.5], [0.001, 0.0]])
    layer = Int8Linear(linear)
    assert layer.weight.tolist() == [[127, 127], [-64, 0]]
    torch.testing.assert_close(layer.scale, torch.tensor([1.0, 0.001]) / 127)


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_blocks_are_in_8_bits_and_nothing_else(kind: str, activations: bool):
    model = tiny_clip(kind)
    for tower in model.towers():
        quantise_int8(tower, quantise_activations=activations)
        linears = [name for name, part in tower.named_modules() if type(part) is nn.Linear]
        assert all("block" not in name for name in linears)
        assert all(parameter.dtype != torch.int8 for parameter in tower.parameters())
    assert int8_precision(model) == ("int8" if activations else "int8-weights")
    assert int8_precision(tiny_clip(kind)) is None


@pytest.mark.parametrize("activations", [True, False])
def test_widths_that_no_kernel_takes_stay_as_they_are(activations: bool):
    layer = nn.Module()
    layer.block = TransformerBlock(
        replace(tiny_config().text_config, width=40, heads=2), causal=True
    )
    quantise_int8(layer, quantise_activations=activations)
    kinds = {name: type(part).__name__ for name, part in layer.named_modules()}
    assert kinds["block.attention.qkv"] == kinds["block.mlp.expand"] == "Linear"
    assert kinds["block.mlp.contract"] == ("Int8Linear" if activations else "Int8WeightOnlyLinear")
    with torch.inference_mode():
        assert layer.block(torch.randn(2, 3, 40)).isfinite().all()


@pytest.mark.parametrize("kind", [Int8Linear, Int8WeightOnlyLinear])
def test_training_in_8_bits_is_refused(kind: type[Int8Linear | Int8WeightOnlyLinear]):
    layer = kind(nn.Linear(16, 8))
    with pytest.raises(ConfigError, match="gradients: got a model in 8 bits"):
        layer(torch.randn(2, 16, requires_grad=True))
