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
from twinlens.benchmark.timing import out_of_memory
from twinlens.embed.embedder import Embedder, Precision, load
from twinlens.model.device import peak_memory
from twinlens.types import Count

_COMPARED = 64
_AT_ONCE = 32
_Answers: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
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


def stand(
    path: Path, precisions: Sequence[str], device: torch.device, batch: int, progress: Count
) -> list[tuple[Embedder, Standing]]:
    """Load a model in every precision, and see what each takes.

    Args:
        path: The model.
        precisions: Names of `Precision`.
        device: Where.
        batch: The largest, for the memory.
        progress: Told what is being done.

    Raises:
        CheckpointError: The model cannot be read.
    """
    progress(0, len(precisions), "loading")
    reference = _answers(_load(path, device, "fp32"))
    found: list[tuple[Embedder, Standing]] = []
    for number, precision in enumerate(precisions):
        progress(number, len(precisions), f"loading, {precision}")
        start = time.perf_counter()
        lens = _load(path, device, precision)
        seconds = time.perf_counter() - start
        standing = Standing(
            precision=precision,
            load_seconds=seconds,
            peak_memory=memory_alone(path, device, precision, batch),
            cosines=_least_cosines(reference, _answers(lens)),
        )
        found.append((lens, standing))
    return found


@torch.inference_mode()
def embed_pixels(
    lens: Embedder, pixels: UInt8[Tensor, "n 3 size size"]
) -> Float[Tensor, "n embed"]:
    """Unit vectors, in float32 and on the device, of raw pixels."""
    return F.normalize(lens.encode_pixels(pixels).float(), dim=-1)


def _load(path: Path, device: torch.device, precision: str) -> Embedder:
    return load(path, device=str(device), precision=cast(Precision, precision))


def _answers(lens: Embedder) -> _Answers:
    """By tower, to the same images and texts."""
    answers: _Answers = {}
    if lens.config.vision is not None:
        pixels = synthetic_inputs.pixels(_COMPARED, lens.config.image_input, lens.device)
        parts = [embed_pixels(lens, some) for some in pixels.split(_AT_ONCE)]
        answers["image"] = torch.cat(parts).cpu()
    if lens.config.text is not None:
        texts = synthetic_inputs.texts(lens.config.text, lens.tokenizer, _COMPARED)
        answers["text"] = torch.from_numpy(lens.embed_texts(texts))
    return answers


def _least_cosines(ours: _Answers, theirs: _Answers) -> dict[str, float]:
    return {
        tower: F.cosine_similarity(ours[tower].double(), theirs[tower].double()).min().item()
        for tower in ours
    }


def memory_alone(path: Path, device: torch.device, precision: str, batch: int) -> float | None:
    """Bytes that a process of its own takes; None where memory did not suffice."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_memory_here, path, str(device), precision, batch).result()
        except BrokenProcessPool:  # killed, as systems do when memory runs out
            return None
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None


def _memory_here(path: Path, device: str, precision: str, batch: int) -> float:
    lens = load(path, device=device, precision=cast(Precision, precision))
    if lens.config.vision is not None:
        embed_pixels(lens, synthetic_inputs.pixels(batch, lens.config.image_input, lens.device))
    if lens.config.text is not None:
        lens.embed_texts(synthetic_inputs.texts(lens.config.text, lens.tokenizer, batch))
    return peak_memory(lens.device)
