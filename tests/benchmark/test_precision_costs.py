"""Costs of precisions: memory of a separate process, and embeddings that are compared."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from twinlens import Embedder
from twinlens.benchmark import precision_costs
from twinlens.benchmark.precision_costs import measure_precisions, peak_memory_in_subprocess
from twinlens.benchmark.records import BenchmarkResult
from twinlens.types import EngineName, no_progress


@pytest.mark.parametrize("engine", ["speed", "openvino_speed"])
def test_precisions_are_held_to_float32(engine: str, request: pytest.FixtureRequest):
    speed: BenchmarkResult = request.getfixturevalue(engine)
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


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_memory_is_that_of_a_process_of_its_own(engine: EngineName, tiny_directory: Path):
    held = peak_memory_in_subprocess(tiny_directory, engine, "cpu", "fp32", 2)
    assert held is not None
    assert 5e7 < held < 2e9


def test_a_start_is_timed_to_the_answer_of_each_tower_after_another_start(
    monkeypatch: pytest.MonkeyPatch, lens: Embedder, tiny_directory: Path
):
    done: list[str] = []

    def load(path: Path, **settings: str) -> Embedder:
        done.append(f"load {settings['engine']}")
        return lens

    def embed(self: Embedder, given: Sequence[object]) -> np.ndarray:
        done.append(f"embed {len(given)}")
        return np.ones((len(given), 2), np.float32)

    monkeypatch.setattr(precision_costs, "load", load)
    monkeypatch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *_: done.append("m"))
    monkeypatch.setattr("time.perf_counter", lambda: done.append("clock") or float(len(done)))
    for name in ("embed_pixels", "embed_texts"):
        monkeypatch.setattr(Embedder, name, embed)
    [(_, cost)] = measure_precisions(
        tiny_directory,
        ["bf16"],
        engine="openvino",
        device="cpu",
        max_batch_size=2,
        progress=no_progress,
    )
    samples = ["load openvino", "embed 32", "embed 32", "embed 64"]
    timed = ["clock", "load openvino", "embed 1", "embed 1", "clock"]
    assert done == [*samples, *samples, "m", *timed]
    assert cost.load_seconds == 4


def test_a_process_that_is_killed_had_too_little_memory(
    monkeypatch: pytest.MonkeyPatch, tiny_directory: Path
):
    monkeypatch.setattr(precision_costs, "_peak_memory_of_process", _die)
    assert peak_memory_in_subprocess(tiny_directory, "torch", "cpu", "fp32", 2) is None


def _die(*asked: object) -> None:
    os._exit(9)
