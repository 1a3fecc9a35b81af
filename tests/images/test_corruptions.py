"""Corruptions: the shape kept, the seed in charge, worse with severity, right by hand."""

from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from twinlens.errors import ConfigError, ShapeError, UnknownNameError
from twinlens.images.corruptions import CORRUPTIONS, SEVERITIES, corrupt

RANDOM = {"gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog"}


def sample_images(side: int) -> list[NDArray[np.uint8]]:
    found = files("twinlens").joinpath("assets", "images").iterdir()
    images = [Image.open(BytesIO(one.read_bytes())).convert("RGB") for one in found]
    return [np.asarray(image.resize((side, side), Image.Resampling.BOX)) for image in images]


@pytest.fixture(scope="module")
def small() -> list[NDArray[np.uint8]]:
    return sample_images(64)


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (8, 300), (33, 20)])
def test_any_shape_is_kept(name: str, shape: tuple[int, int]):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = pixels.copy()
    for severity in (1, 5):
        changed = corrupt(pixels, name, severity, seed=0)
        assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
    assert (pixels == before).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_decides(small: list[NDArray[np.uint8]], name: str):
    once, again, other = (corrupt(small[0], name, 3, seed=seed) for seed in (1, 1, 2))
    assert (once == again).all()
    assert (once == other).all() == (name not in RANDOM)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_worse_with_severity(small: list[NDArray[np.uint8]], name: str):
    likeness = [
        np.mean([psnr(one, corrupt(one, name, severity, seed=i)) for i, one in enumerate(small)])
        for severity in SEVERITIES
    ]
    assert (np.diff(likeness) < -0.5).all()
    assert likeness[0] > 17
    assert likeness[-1] < 25


def test_noise_is_as_strong_as_said():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = corrupt(grey, "gaussian_noise", 1, seed=0) / 255 - 128 / 255
    assert noise.std() == pytest.approx(0.08, rel=0.02)
    shot = corrupt(grey, "shot_noise", 1, seed=0) / 255
    assert shot.mean() == pytest.approx(128 / 255, abs=0.003)
    assert shot.var() == pytest.approx(128 / 255 / 60, rel=0.05)
    impulse = corrupt(grey, "impulse_noise", 5, seed=0)
    assert (impulse == 0).mean() == pytest.approx(0.135, abs=0.005)
    assert (impulse == 255).mean() == pytest.approx(0.135, abs=0.005)


def test_a_large_image_has_coarse_noise():
    noisy = corrupt(np.full((448, 500, 3), 128, np.uint8), "gaussian_noise", 3, seed=0)
    tiles = noisy.reshape(224, 2, 250, 2, 3)
    assert (tiles == tiles[:, :1, :, :1]).all()


def test_a_point_out_of_focus_is_a_disc():
    dark = np.zeros((224, 224, 3), np.uint8)
    dark[100:106, 100:106] = 255
    lit = corrupt(dark, "defocus_blur", 5, seed=0)[:, :, 0].astype(float)
    down, across = np.indices(lit.shape)
    far = np.hypot(down - 102.5, across - 102.5)
    # A radius of 8 and the square's half diagonal of 3.5.
    assert lit[far > 8 + 3.5 + 2].max() == 0
    assert lit[far < 8 - 3.5 - 2].std() < 3
    assert lit.sum() / 255 == pytest.approx(36, rel=0.02)


def test_a_moved_point_is_a_line():
    dark = np.zeros((224, 224, 3), np.uint8)
    dark[110:114, 110:114] = 255
    lit = corrupt(dark, "motion_blur", 5, seed=4)[:, :, 0].astype(float)
    down, across = np.indices(lit.shape) - 111.5
    spread = np.cov(np.stack([down.ravel(), across.ravel()]), aweights=lit.ravel())
    short, long = np.sqrt(np.linalg.eigvalsh(spread) * 12)
    assert (short, long) == (pytest.approx(4, abs=0.5), pytest.approx(36, abs=1.5))


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "zoom_blur", "contrast"])
def test_a_plain_image_has_nothing_to_lose(name: str):
    plain = np.full((40, 50, 3), (10, 200, 77), np.uint8)
    assert (corrupt(plain, name, 5, seed=0) == plain).all()


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "zoom_blur", "pixelate"])
def test_a_small_copy_is_hurt_like_a_large_one(name: str):
    large = sample_images(448)[0]
    small = np.asarray(Image.fromarray(large).resize((112, 112), Image.Resampling.BOX))
    worse = Image.fromarray(corrupt(large, name, 4, seed=0))
    shrunk = np.asarray(worse.resize((112, 112), Image.Resampling.BOX))
    assert psnr(shrunk, corrupt(small, name, 4, seed=0)) > psnr(shrunk, small) + 5


def test_blocks_are_of_one_colour():
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    blocks = corrupt(pixels, "pixelate", 1, seed=0).reshape(56, 4, 56, 4, 3)
    means = pixels.reshape(56, 4, 56, 4, 3).mean(axis=(1, 3))
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert np.abs(blocks[:, 0, :, 0] - means).max() <= 1


def test_colours_by_hand():
    pixel = np.array([[[100, 50, 200]]], np.uint8)
    assert corrupt(pixel, "brightness", 2, seed=0).tolist() == [[[151, 101, 251]]]
    # The luma is 82.05; 1.3 times as far from it.
    assert corrupt(pixel, "saturate", 1, seed=0).tolist() == [[[105, 40, 235]]]
    grey = np.full((3, 3, 3), 90, np.uint8)
    assert (corrupt(grey, "saturate", 5, seed=0) == grey).all()


def test_fog_only_lightens():
    dark = np.full((64, 64, 3), 40, np.uint8)
    fogged = corrupt(dark, "fog", 3, seed=0) / 255
    cover = (fogged - 40 / 255) / (1 - 40 / 255)
    assert cover.min() == pytest.approx(0.325, abs=0.005)
    assert cover.max() == pytest.approx(0.65, abs=0.005)
    assert np.abs(np.diff(cover, axis=0)).max() < 0.1  # it is smooth


def test_mistakes_are_named(small: list[NDArray[np.uint8]]):
    with pytest.raises(UnknownNameError, match=r"corruption 'gaussian': .*'gaussian_noise'"):
        corrupt(small[0], "gaussian", 1, seed=0)
    for severity in (0, 6):
        with pytest.raises(ConfigError, match=f"severity: got {severity}, expected one of 1 to 5"):
            corrupt(small[0], "jpeg", severity, seed=0)
    with pytest.raises(ConfigError, match="seed: got -1, expected 0 or more"):
        corrupt(small[0], "jpeg", 1, seed=-1)
    for wrong in (small[0][:, :, 0], small[0][:, :, :2], small[0].astype(float), small[0][:0]):
        with pytest.raises(ShapeError, match=r"image: got .*, expected uint8 \[height, width"):
            corrupt(wrong, "jpeg", 1, seed=0)
