"""Costs of precisions: memory of a separate process, and embeddings that are compared."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.benchmark.conftest import CPU
from twinlens import Embedder
from twinlens.benchmark import precision_costs
from twinlens.benchmark.precision_costs import peak_memory_in_subprocess
from twinlens.benchmark.records import BenchmarkResult


def test_precisions_are_held_to_float32(speed: BenchmarkResult):
    exact, rounded = speed.precisions
    assert (exact.precision, rounded.precision) == ("fp32", "bf16")
    for tower in ("image", "text"):
        assert exact.cosines[tower] == pytest.approx(1)
        assert 0.99 < rounded.cosines[tower] < 1
    assert exact.load_seconds > 0
    assert set(speed.ceilings) == {"fp32", "bf16"}


def test_pixels_are_encoded_as_images_are(lens: Embedder):
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = lens.embed_images([one.permute(1, 2, 0).numpy() for one in pixels])
    assert np.allclose(lens.embed_pixels(pixels), expected, atol=1e-6)


def test_memory_is_that_of_a_process_of_its_own(tiny_directory: Path):
    held = peak_memory_in_subprocess(tiny_directory, CPU, "fp32", 2)
    assert held is not None
    assert 1e8 < held < 2e9


def test_a_process_that_is_killed_had_too_little_memory(
    monkeypatch: pytest.MonkeyPatch, tiny_directory: Path
):
    monkeypatch.setattr(precision_costs, "_peak_memory_of_process", _die)
    assert peak_memory_in_subprocess(tiny_directory, CPU, "fp32", 2) is None


def _die(*asked: object) -> None:
    os._exit(9)
