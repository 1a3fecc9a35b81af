"""Random changes of training images: reproducible, bounded, and none where none is asked."""

import numpy as np
import pytest
import torch
from PIL import Image

from twinlens.data.augment import Augmentation, augment, random_square_crop
from twinlens.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 16, 16), generator=seeded(), dtype=torch.uint8)


def test_nothing_asked_nothing_changed(pixels: torch.Tensor):
    assert augment(pixels, Augmentation(), seeded()) is pixels


@pytest.mark.parametrize(
    "config",
    [
        Augmentation(max_rotation=30),
        Augmentation(max_stretch=0.3),
        Augmentation(colour_std=0.3),
        Augmentation(brightness_std=0.3),
    ],
)
def test_the_generator_decides(pixels: torch.Tensor, config: Augmentation):
    once, again = augment(pixels, config, seeded(1)), augment(pixels, config, seeded(1))
    assert once.dtype == torch.uint8
    assert torch.equal(once, again)
    assert not torch.equal(once, augment(pixels, config, seeded(2)))
    assert not torch.equal(once, pixels)


def test_a_part_is_changed_as_the_whole_would_be(pixels: torch.Tensor):
    config = Augmentation(
        max_rotation=30,
        max_stretch=0.3,
        colour_std=0.3,
        brightness_std=0.3,
        greyscale_probability=0.5,
        invert_probability=0.5,
    )
    whole = augment(pixels, config, seeded(1))
    for first, last in ((0, 2), (2, 6), (5, 6)):
        part = augment(pixels[first:last], config, seeded(1), batch_offset=first, batch_size=6)
        assert torch.equal(part, whole[first:last])


def test_grey_images_have_equal_channels(pixels: torch.Tensor):
    grey = augment(pixels, Augmentation(greyscale_probability=1.0), seeded())
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_the_negative_is_the_negative(pixels: torch.Tensor):
    assert torch.equal(
        augment(pixels, Augmentation(invert_probability=1.0), seeded()), 255 - pixels
    )


def test_turning_keeps_a_plain_image_plain():
    plain = torch.full((2, 3, 16, 16), 77, dtype=torch.uint8)
    assert torch.equal(
        augment(plain, Augmentation(max_rotation=45, max_stretch=0.2), seeded()), plain
    )


def test_a_crop_is_a_square_from_inside():
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3))
    image, rng = Image.fromarray(ramp), np.random.default_rng(0)
    whole = random_square_crop(image, 50, 1.0, rng)
    assert whole.shape == (50, 50, 3)
    # The full height, so 100 of the 200 columns: the ramp rises by 2 a pixel, wherever it starts.
    assert np.diff(whole[10, 5:45, 0].astype(int)).mean() == pytest.approx(2.0, abs=0.05)
    zoomed = random_square_crop(image, 50, 0.25, np.random.default_rng(1))
    assert np.ptp(zoomed[10, :, 0]) < np.ptp(whole[10, :, 0])


@pytest.mark.parametrize(
    "settings",
    [
        {"min_crop_side": 0.0},
        {"min_crop_side": 1.1},
        {"max_rotation": -1.0},
        {"colour_std": -0.1},
        {"greyscale_probability": 7.0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}: got"):
        Augmentation(**settings)
