"""Costs of a precision: time to load, peak memory, and the difference from float32."""

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
import torch
import torch.nn.functional as F
from torch import Tensor

from twinlens.benchmark import synthetic_inputs
from twinlens.benchmark.timing import is_out_of_memory
from twinlens.embed.embedder import Embedder
from twinlens.embed.loading import load
from twinlens.inference.device import peak_memory
from twinlens.types import Precision, ProgressCallback

_NUM_COMPARED = 64
_BATCH_SIZE = 32
_Embeddings: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCost:
    """The costs of a model in one precision.

    Attributes:
        precision: Name of the precision.
        load_seconds: Time to load the model from files in the system's cache.
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
    device: torch.device,
    max_batch_size: int,
    progress: ProgressCallback,
) -> list[tuple[Embedder, PrecisionCost]]:
    """Load a model in every precision and measure the costs of each.

    Args:
        path: Directory or file of the model.
        precisions: The precisions, without "auto".
        device: The device to compute on.
        max_batch_size: Batch size of the memory measurement.
        progress: Called before each precision.

    Raises:
        CheckpointError: The model cannot be read.
    """
    progress(0, len(precisions), "loading")
    reference = _embed_samples(load(path, engine="torch", device=str(device), precision="fp32"))
    measured: list[tuple[Embedder, PrecisionCost]] = []
    for number, precision in enumerate(precisions):
        progress(number, len(precisions), f"loading, {precision}")
        start = time.perf_counter()
        embedder = load(path, engine="torch", device=str(device), precision=precision)
        seconds = time.perf_counter() - start
        cost = PrecisionCost(
            precision=precision,
            load_seconds=seconds,
            peak_memory=peak_memory_in_subprocess(path, device, precision, max_batch_size),
            cosines={
                tower: F.cosine_similarity(ours.double(), reference[tower].double()).min().item()
                for tower, ours in _embed_samples(embedder).items()
            },
        )
        measured.append((embedder, cost))
    return measured


def _embed_samples(
    embedder: Embedder, count: int = _NUM_COMPARED, batch_size: int = _BATCH_SIZE
) -> _Embeddings:
    """Embed the same images and texts at every call; embeddings by tower."""
    embeddings: _Embeddings = {}
    if embedder.config.vision is not None:
        pixels = synthetic_inputs.random_pixels(
            count, embedder.config.preprocess_config, torch.device(embedder.device)
        )
        batches = [embedder.embed_pixels(batch) for batch in pixels.split(batch_size)]
        embeddings["image"] = torch.from_numpy(np.concatenate(batches))
    if embedder.config.text is not None:
        texts = synthetic_inputs.synthetic_texts(embedder.config.text, embedder.tokenizer, count)
        embeddings["text"] = torch.from_numpy(embedder.embed_texts(texts))
    return embeddings


def peak_memory_in_subprocess(
    path: Path, device: torch.device, precision: Precision, batch_size: int
) -> float | None:
    """Peak memory in bytes of a separate process; None if there was too little memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(
                _peak_memory_of_process, path, device, precision, batch_size
            ).result()
        except BrokenProcessPool:  # killed, as systems do when memory runs out
            return None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None


def _peak_memory_of_process(
    path: Path, device: torch.device, precision: Precision, batch_size: int
) -> float:
    embedder = load(path, engine="torch", device=str(device), precision=precision)
    _embed_samples(embedder, batch_size, batch_size)
    return peak_memory(torch.device(embedder.device))
