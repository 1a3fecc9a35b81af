"""Names, shapes and types of weights from a configuration are those of the torch model."""

from dataclasses import replace

import pytest

from tests.tiny import tiny_config
from twinlens.checkpoints.expected_weights import expected_weights
from twinlens.checkpoints.meta import meta_model
from twinlens.config import CLIPConfig
from twinlens.model import presets

VIT, RESNET, TEXT = (
    tiny_config().vision,
    tiny_config("resnet").vision,
    tiny_config().text_config,
)
TINY = {
    "vit": tiny_config(),
    "resnet": tiny_config("resnet"),
    "one channel more at once": replace(
        tiny_config("resnet"), vision=replace(RESNET, width=16, layers=(1, 2, 1, 3))
    ),
    "bias": replace(tiny_config(), logit_bias=True),
    "image alone": replace(tiny_config(), text=None),
    "text alone": replace(tiny_config(), vision=None, preprocess=None),
    "affine": replace(tiny_config(), text=replace(TEXT, projection="affine")),
    "odd patches": replace(tiny_config(), vision=replace(VIT, patch_size=13, mlp_width=20)),
}


def assert_equal(config: CLIPConfig) -> None:
    expected = meta_model(config).state_dict()
    got = expected_weights(config)
    assert list(got) == list(expected)
    for name, tensor in expected.items():
        assert got[name].shape == tuple(tensor.shape), name
        assert f"torch.{got[name].dtype}" == str(tensor.dtype)


@pytest.mark.parametrize("name", TINY)
def test_of_small_configurations(name: str):
    assert_equal(TINY[name])


@pytest.mark.parametrize(
    "name", [name for name in vars(presets) if name.startswith(("rn", "vit_", "siglip_"))]
)
def test_of_every_preset(name: str):
    assert_equal(getattr(presets, name)())


def test_they_take_no_memory():
    assert not any(any(array.strides) for array in expected_weights(presets.vit_l_14()).values())
