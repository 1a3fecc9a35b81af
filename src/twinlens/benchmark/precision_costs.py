"""What a precision asks of a machine and gives up for it: loading, memory, nearness to float32."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from twinlens.benchmark import synthetic_inputs
from twinlens.benchmark.timing import is_out_of_memory
from twinlens.embed.embedder import Embedder, Precision, load
from twinlens.inference.device import peak_memory
from twinlens.types import ProgressCallback

_NUM_COMPARED = 64
_BATCH_SIZE = 32
_Embeddings: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCost:
    """One precision.

    Attributes:
        precision: Its name.
        load_seconds: From files in the system's cache to a model that answers.
        peak_memory: Bytes that a process of its own held at most, from its start to the answers
            to the largest batch: of the device, or of the machine where that has none. None
            where it did not suffice.
        cosines: The least cosine of its answers with those in float32, by tower.
    """

    precision: str
    load_seconds: float
    peak_memory: float | None
    cosines: dict[str, float]


def measure_precisions(
    path: Path,
    precisions: Sequence[str],
    device: torch.device,
    max_batch_size: int,
    progress: ProgressCallback,
) -> list[tuple[Embedder, PrecisionCost]]:
    """Load a model in every precision, and see what each takes.

    Args:
        path: The model.
        precisions: Names of `ExportPrecision`.
        device: Where.
        max_batch_size: The largest, for the memory.
        progress: Told what is being done.

    Raises:
        CheckpointError: The model cannot be read.
    """
    progress(0, len(precisions), "loading")
    reference = _embed_samples(_load_embedder(path, device, "fp32"))
    found: list[tuple[Embedder, PrecisionCost]] = []
    for number, precision in enumerate(precisions):
        progress(number, len(precisions), f"loading, {precision}")
        start = time.perf_counter()
        lens = _load_embedder(path, device, precision)
        seconds = time.perf_counter() - start
        standing = PrecisionCost(
            precision=precision,
            load_seconds=seconds,
            peak_memory=peak_memory_in_subprocess(path, device, precision, max_batch_size),
            cosines=_min_cosines(reference, _embed_samples(lens)),
        )
        found.append((lens, standing))
    return found


@torch.inference_mode()
def embed_pixels(
    embedder: Embedder, pixels: UInt8[Tensor, "n 3 size size"]
) -> Float[Tensor, "n embed"]:
    """Unit vectors, in float32 and on the device, of raw pixels."""
    return F.normalize(embedder.encode_pixels(pixels).float(), dim=-1)


def _load_embedder(path: Path, device: torch.device, precision: str) -> Embedder:
    return load(path, device=str(device), precision=cast(Precision, precision))


def _embed_samples(embedder: Embedder) -> _Embeddings:
    """By tower, to the same images and texts."""
    answers: _Embeddings = {}
    if embedder.config.vision is not None:
        pixels = synthetic_inputs.random_pixels(
            _NUM_COMPARED, embedder.config.preprocess_config, embedder.device
        )
        parts = [embed_pixels(embedder, some) for some in pixels.split(_BATCH_SIZE)]
        answers["image"] = torch.cat(parts).cpu()
    if embedder.config.text is not None:
        texts = synthetic_inputs.synthetic_texts(
            embedder.config.text, embedder.tokenizer, _NUM_COMPARED
        )
        answers["text"] = torch.from_numpy(embedder.embed_texts(texts))
    return answers


def _min_cosines(embeddings: _Embeddings, reference: _Embeddings) -> dict[str, float]:
    return {
        tower: F.cosine_similarity(embeddings[tower].double(), reference[tower].double())
        .min()
        .item()
        for tower in embeddings
    }


def peak_memory_in_subprocess(
    path: Path, device: torch.device, precision: str, batch_size: int
) -> float | None:
    """Bytes that a process of its own takes; None where memory did not suffice."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(
                _peak_memory_of_process, path, str(device), precision, batch_size
            ).result()
        except BrokenProcessPool:  # killed, as systems do when memory runs out
            return None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None


def _peak_memory_of_process(path: Path, device: str, precision: str, batch_size: int) -> float:
    lens = load(path, device=device, precision=cast(Precision, precision))
    if lens.config.vision is not None:
        embed_pixels(
            lens,
            synthetic_inputs.random_pixels(batch_size, lens.config.preprocess_config, lens.device),
        )
    if lens.config.text is not None:
        lens.embed_texts(
            synthetic_inputs.synthetic_texts(lens.config.text, lens.tokenizer, batch_size)
        )
    return peak_memory(lens.device)
