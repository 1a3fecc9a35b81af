"""Sizes of a model that cannot be."""

import pytest

from twinlens.config import PreprocessConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.errors import ConfigError


@pytest.mark.parametrize(
    "make",
    [
        lambda: ViTConfig(
            image_size=32, patch_size=16, width=30, layers=1, heads=4, activation="gelu"
        ),
        lambda: ResNetConfig(image_size=50, width=8, layers=(1, 1, 1, 1), heads=4),
        lambda: ResNetConfig(image_size=64, width=8, layers=(1, 0, 1, 1), heads=4),
        lambda: ResNetConfig(image_size=64, width=8, layers=(1, 1, 1, 1), heads=3),
        lambda: TextConfig(width=8, layers=1, heads=3, activation="gelu"),
        lambda: PreprocessConfig(image_size=8, std=(1.0, 0.0, 1.0)),
        lambda: PreprocessConfig(image_size=8, background=(0, 0, 256)),
    ],
)
def test_impossible_sizes_are_refused(make):
    with pytest.raises(ConfigError, match="expected"):
        make()
