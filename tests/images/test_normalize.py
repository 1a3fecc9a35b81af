"""Pixels normalised as torch does it, to the last bit."""

import numpy as np
import torch

from tests.tiny import tiny_config
from twinlens.images.normalize import normalize_pixels
from twinlens.inference.preprocess import normalize


def test_the_bits_are_torch_s():
    pixels = np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    config = tiny_config().preprocess_config
    expected = normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None], config)[0]
    assert np.array_equal(normalize_pixels(pixels, config), expected.numpy())
