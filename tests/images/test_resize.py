"""Squashed images, and filters, against open_clip's and Hugging Face's own preprocessing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import SiglipImageProcessorPil

from tests.peers import peer
from twinlens.config import PreprocessConfig
from twinlens.images.decode import to_pixels

pytestmark = pytest.mark.peers
transform = peer("open_clip.transform")

SHAPES = [(64, 64), (640, 480), (333, 500), (31, 97), (1, 1), (7, 2000), (2000, 7), (65, 63)]


def photo(width: int, height: int) -> Image.Image:
    """Slopes with grain on them."""
    rng = np.random.default_rng(width * 10_000 + height)
    rough = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    smooth = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 9, (height, width, 3))
    return Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))


def open_clip_pixels(image: Image.Image, config: PreprocessConfig) -> np.ndarray:
    """open_clip's transform up to the pixels; the tensor and the norm come after them."""
    modes = {"crop": "shortest", "squash": "squash"}
    steps = transform.image_transform(
        config.image_size,
        is_train=False,
        interpolation=config.interpolation,
        resize_mode=modes[config.resize],
    ).transforms
    for step in steps[: 1 if config.resize == "squash" else 2]:
        image = step(image)
    return np.asarray(image)


def hugging_face_pixels(image: Image.Image, config: PreprocessConfig) -> np.ndarray:
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    processor = SiglipImageProcessorPil(
        size={"height": config.image_size, "width": config.image_size},
        resample=filters[config.interpolation],
        do_rescale=False,
        do_normalize=False,
    )
    (pixels,) = processor(image, return_tensors="np")["pixel_values"]
    return pixels.transpose(1, 2, 0)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("theirs", [open_clip_pixels, hugging_face_pixels])
def test_squashed_pixels_are_the_references(
    theirs: Callable[..., np.ndarray], shape: tuple[int, int], interpolation: Any
) -> None:
    config = PreprocessConfig(image_size=64, resize="squash", interpolation=interpolation)
    image = photo(*shape)
    expected = theirs(image, config)
    assert expected.dtype == np.uint8
    assert np.array_equal(to_pixels(image, config), expected)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", SHAPES)
def test_cropped_pixels_are_open_clips(shape: tuple[int, int], interpolation: Any) -> None:
    config = PreprocessConfig(image_size=64, interpolation=interpolation)
    image = photo(*shape)
    assert np.array_equal(to_pixels(image, config), open_clip_pixels(image, config))


def test_squashing_keeps_what_cropping_cuts_off() -> None:
    halves = np.zeros((40, 400, 3), np.uint8)
    halves[:, :20], halves[:, -20:] = (255, 0, 0), (0, 0, 255)
    config = PreprocessConfig(image_size=40, resize="squash")
    squashed = to_pixels(halves, config)
    assert squashed[20, 0].tolist() == [255, 0, 0]
    assert squashed[20, -1].tolist() == [0, 0, 255]
    assert not to_pixels(halves, PreprocessConfig(image_size=40)).any()


def test_a_very_long_line_is_squashed() -> None:
    line = np.tile(np.array([[[0, 128, 255]]], np.uint8), (1, 30_000, 1))
    pixels = to_pixels(line, PreprocessConfig(image_size=64, resize="squash"))
    assert (pixels == (0, 128, 255)).all()
