"""Whether images look like drawings: what is measured, and the embedded model's numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import twinlens
from twinlens.data.datasets import open_dataset
from twinlens.errors import CheckpointError
from twinlens.images.decode import to_pixels
from twinlens.images.drawing_detector import (
    DRAWING_DETECTOR_FILE,
    DrawingDetector,
    flatness_features,
    load_drawing_detector,
)

ROOT = Path(__file__).parents[2]
ASSETS = Path(twinlens.__file__).parent / "assets"
SHIPPED = load_drawing_detector(ASSETS / "icons")


def photograph(seed: int) -> np.ndarray:
    """Texture at every scale and a little grain: [3, 64, 64]."""
    rng = np.random.default_rng(seed)
    across, down = np.fft.rfftfreq(64)[None], np.fft.fftfreq(64)[:, None]
    fall = 1 / np.maximum(np.hypot(across, down), 1 / 64)
    noise = np.fft.rfft2(rng.normal(size=(3, 64, 64))) * fall
    texture = np.fft.irfft2(noise, (64, 64))
    levels = 128 + 40 * texture / texture.std() + rng.normal(0, 2, (64, 64))
    return levels.clip(0, 255).astype(np.uint8)


def drawing(seed: int) -> np.ndarray:
    """A disc and a bar on a plain ground: [3, 64, 64]."""
    rng = np.random.default_rng(seed)
    ground, disc, bar = rng.integers(0, 256, (3, 3, 1, 1), dtype=np.uint8)
    down, across = np.mgrid[:64, :64]
    inside = np.hypot(down - 32, across - 32) < rng.integers(10, 28)
    pixels = np.where(inside, disc, ground)
    pixels[:, 30:34, 8:56] = bar
    return pixels


def test_the_measures_are_those_of_the_pixels():
    pixels = np.zeros((2, 3, 64, 64), np.uint8)
    pixels[1, :, :, 40:] = 2  # one step of 2 levels in each row
    flat, steps = flatness_features(pixels)
    step = 64 / (2 * 64 * 63)
    assert flat == pytest.approx([1, 0, 0, 1])
    assert steps == pytest.approx([1 - step, step, 0, 1])
    pixels[1, 0, :, 40:] = 80
    _, steps = flatness_features(pixels)
    assert steps == pytest.approx([1 - step, 0, step, (64 + 40 + 40) / 256])


def test_one_image_and_another_do_not_change_each_other():
    both = np.stack([photograph(0), drawing(0)])
    assert flatness_features(both).tolist() == [
        *flatness_features(both[:1]).tolist(),
        *flatness_features(both[1:]).tolist(),
    ]
    assert flatness_features(both[:0]).shape == (0, 4)


def test_photographs_and_drawings_are_told_apart():
    assert SHIPPED is not None
    assert SHIPPED.is_not_drawing(np.stack([photograph(seed) for seed in range(20)])).all()
    assert not SHIPPED.is_not_drawing(np.stack([drawing(seed) for seed in range(20)])).any()


def test_what_is_rougher_is_never_more_of_a_drawing():
    assert SHIPPED is not None
    assert SHIPPED.same <= 0 <= SHIPPED.slight
    assert SHIPPED.edge <= 0 <= SHIPPED.rough
    noise = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)
    assert SHIPPED.is_not_drawing(noise).all()


def test_the_emoji_of_the_unseen_style_look_like_drawings():
    assert SHIPPED is not None
    config = twinlens.load("icons", towers="image").config.preprocess_config
    samples = open_dataset(str(ASSETS / "shards" / "unseen-style")).samples[::5]
    pixels = [to_pixels(sample.image_bytes(), config) for sample in samples]
    assert not SHIPPED.is_not_drawing(np.stack(pixels).transpose(0, 3, 1, 2)).any()


def test_the_error_rates_are_those_of_the_card():
    assert SHIPPED is not None
    rates = {one.images: one for one in SHIPPED.measured}
    assert {*rates} == {"drawing", "drawing as JPEG", "photograph", "window", "cut-out"}
    card = (ASSETS / "icons" / "README.md").read_text(encoding="utf-8")
    for one in rates.values():
        assert f"| {one.wrong:,} | {one.of:,} | {one.wrong / one.of:.1%} |" in card
    for page in (ROOT / "README.md", ROOT / "docs" / "cli.md"):
        text = page.read_text(encoding="utf-8")
        for kind in ("drawing", "photograph"):
            assert f"{rates[kind].wrong} of {rates[kind].of:,} {kind}s" in text
    assert rates["drawing"].wrong / rates["drawing"].of < 0.01
    assert rates["photograph"].wrong / rates["photograph"].of < 0.05


def test_a_model_without_the_file_has_no_test(tmp_path: Path):
    assert load_drawing_detector(tmp_path) is None
    assert load_drawing_detector(tmp_path / "model.pt") is None


def test_a_damaged_file_is_told(tmp_path: Path):
    file = tmp_path / DRAWING_DETECTOR_FILE
    for text in ("{", json.dumps({"same": 1.0}), json.dumps({"what": 1.0})):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError, match=DRAWING_DETECTOR_FILE):
            load_drawing_detector(tmp_path)


def test_the_bias_is_where_the_line_is():
    assert isinstance(SHIPPED, DrawingDetector)
    pixels = photograph(3)[None]
    score = SHIPPED.bias + flatness_features(pixels)[0] @ np.array(
        [SHIPPED.same, SHIPPED.slight, SHIPPED.rough, SHIPPED.edge]
    )
    assert replace(SHIPPED, bias=SHIPPED.bias - score + 1e-6).is_not_drawing(pixels).all()
    assert not replace(SHIPPED, bias=SHIPPED.bias - score - 1e-6).is_not_drawing(pixels).any()
