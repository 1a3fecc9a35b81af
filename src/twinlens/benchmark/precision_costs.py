"""Costs of a precision: time to start, peak memory, and the difference from float32."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from twinlens.benchmark import synthetic_inputs
from twinlens.benchmark.engines import peak_memory
from twinlens.benchmark.timing import is_out_of_memory
from twinlens.embed.embedder import Embedder
from twinlens.embed.loading import load
from twinlens.types import Embeddings, EngineName, Precision, ProgressCallback

_NUM_COMPARED = 64
_BATCH_SIZE = 32
_EmbeddingsByTower: TypeAlias = "dict[str, Embeddings]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCost:
    """The costs of a model in one precision.

    Attributes:
        precision: Name of the precision.
        load_seconds: Time to load the model and to answer with each of its towers once, where
            this was done before on this machine: its files are in memory, and OpenVINO's compiled
            towers in the directory of `twinlens cache`. The runtime's own import is not in it.
        peak_memory: Peak memory in bytes of a separate process that loads the model and embeds the
            largest batch: memory of the device, or of the machine if the device has none of its
            own. None if there was too little memory.
        cosines: Smallest cosine between its embeddings and those in float32, by tower.
    """

    precision: str
    load_seconds: float
    peak_memory: float | None
    cosines: dict[str, float]


def measure_precisions(
    path: Path,
    precisions: Sequence[Precision],
    *,
    engine: EngineName,
    device: str,
    max_batch_size: int,
    progress: ProgressCallback,
) -> list[tuple[Embedder, PrecisionCost]]:
    """Load a model in every precision and measure the costs of each.

    Args:
        path: Directory or file of the model.
        precisions: The precisions, without "auto".
        engine: The runtime that computes.
        device: The device to compute on.
        max_batch_size: Batch size of the memory measurement.
        progress: Called before each precision.

    Raises:
        CheckpointError: The model cannot be read.
    """
    progress(0, len(precisions), "loading")
    reference = _embed_samples(load(path, engine=engine, device=device, precision="fp32"))
    measured: list[tuple[Embedder, PrecisionCost]] = []
    for number, precision in enumerate(precisions):
        progress(number, len(precisions), f"loading, {precision}")
        # First what another start finds done: what this one compiles is then in its cache.
        found = _embed_samples(load(path, engine=engine, device=device, precision=precision))
        memory = peak_memory_in_subprocess(path, engine, device, precision, max_batch_size)
        start = time.perf_counter()
        embedder = load(path, engine=engine, device=device, precision=precision)
        _embed_samples(embedder, 1, 1)
        cost = PrecisionCost(
            precision=precision,
            load_seconds=time.perf_counter() - start,
            peak_memory=memory,
            cosines={tower: _min_cosine(found[tower], reference[tower]) for tower in found},
        )
        measured.append((embedder, cost))
    return measured


def _min_cosine(ours: Embeddings, reference: Embeddings) -> float:
    """The smallest cosine of two rows at one place."""
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / lengths).min())


def _embed_samples(
    embedder: Embedder, count: int = _NUM_COMPARED, batch_size: int = _BATCH_SIZE
) -> _EmbeddingsByTower:
    """Embed the same images and texts at every call; embeddings by tower."""
    embeddings: _EmbeddingsByTower = {}
    if embedder.config.vision is not None:
        config = embedder.config.preprocess_config
        pixels = synthetic_inputs.random_pixels(count, config, embedder.device)
        starts = range(0, count, batch_size)
        batches = [embedder.embed_pixels(pixels[at : at + batch_size]) for at in starts]
        embeddings["image"] = np.concatenate(batches)
    if embedder.config.text is not None:
        texts = synthetic_inputs.synthetic_texts(embedder.config.text, embedder.tokenizer, count)
        embeddings["text"] = embedder.embed_texts(texts)
    return embeddings


def peak_memory_in_subprocess(
    path: Path, engine: EngineName, device: str, precision: Precision, batch_size: int
) -> float | None:
    """Peak memory in bytes of a separate process; None if there was too little memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(
                _peak_memory_of_process, path, engine, device, precision, batch_size
            ).result()
        except BrokenProcessPool:  # killed, as systems do when memory runs out
            return None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None


def _peak_memory_of_process(
    path: Path, engine: EngineName, device: str, precision: Precision, batch_size: int
) -> float:
    embedder = load(path, engine=engine, device=device, precision=precision)
    _embed_samples(embedder, batch_size, batch_size)
    return peak_memory(device)
