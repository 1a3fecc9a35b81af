"""The result of a benchmark of the tiny model beside another library."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from twinlens.benchmark import precision_costs
from twinlens.benchmark.interference import Disturbance
from twinlens.benchmark.records import BenchmarkOptions, BenchmarkResult, BenchmarkTarget
from twinlens.benchmark.speed import run_benchmark
from twinlens.types import EngineName, no_progress

QUIET = Disturbance(others=0.0, spread=0.02, reasons=())
OPTIONS = BenchmarkOptions(precisions=("fp32", "bf16"), batches=(1, 2), seconds=1e-6, price=3.6)


def _embed_images(pixels: NDArray[np.uint8]) -> object:
    if len(pixels) > 1:
        raise torch.OutOfMemoryError("out of memory")
    return pixels


def _embed_texts(texts: Sequence[str]) -> object:
    assert all(isinstance(text, str) for text in texts)
    return texts


BASELINE = BenchmarkTarget(
    library="other 1.0", precision="fp32", embed_images=_embed_images, embed_texts=_embed_texts
)
"""A library that runs out of memory with two images."""


@pytest.fixture(scope="session")
def speed(tiny_directory: Path) -> BenchmarkResult:
    return measure(tiny_directory, "torch")


@pytest.fixture(scope="session")
def openvino_speed(tiny_directory: Path) -> BenchmarkResult:
    return measure(tiny_directory, "openvino")


def measure(path: Path, engine: EngineName) -> BenchmarkResult:
    """Benchmark the tiny model beside the other library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *_: 1e9)
        patch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *_: QUIET)
        return run_benchmark(
            path,
            OPTIONS,
            model="tiny",
            engine=engine,
            device="cpu",
            baselines=[BASELINE],
            progress=no_progress,
        )
