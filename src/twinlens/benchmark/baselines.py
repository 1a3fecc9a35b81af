"""The same model in other libraries, to benchmark them as baselines."""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinlens.benchmark.records import BenchmarkTarget
from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.embed.embedder import Embedder
from twinlens.errors import ConfigError, require_known
from twinlens.export.references import model_class, normalised_features, translate_library_errors
from twinlens.inference.device import synchronize
from twinlens.inference.preprocess import normalize

BASELINE_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precisions of baselines."""


def open_baselines(
    names: Sequence[str], embedder: Embedder, precisions: Sequence[str]
) -> list[BenchmarkTarget]:
    """Write the model for other libraries and open it there.

    Args:
        names: "open_clip", "transformers".
        embedder: The model, with both towers; baselines use its device.
        precisions: The model is opened in those of them that `BASELINE_DTYPES` has.

    Raises:
        UnknownNameError: There is no such baseline.
        ConfigError: A library is not installed, or none of the precisions is supported.
        CheckpointError: A library has no such model; the message says why.
    """
    supported = [precision for precision in precisions if precision in BASELINE_DTYPES]
    if names and not supported:
        raise ConfigError(
            f"compare: got {', '.join(precisions)}, expected one of {', '.join(BASELINE_DTYPES)} "
            "among the precisions: other libraries are measured in no other precision"
        )
    return [peer for name in names for peer in _open_baseline(name, embedder, supported)]


def _open_baseline(
    name: str, embedder: Embedder, precisions: Sequence[str]
) -> Iterator[BenchmarkTarget]:
    require_known("baseline", name, _BASELINES)
    package, write, build = _BASELINES[name]
    with translate_library_errors("compare", name, package, ConfigError):
        library = importlib.import_module(name)
    title = f"{name} {importlib.metadata.version(package)}"
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / name
        write(embedder.model, directory, embedder.tokenizer)
        for precision in precisions:
            images, texts = build(library, directory, embedder, BASELINE_DTYPES[precision])
            yield BenchmarkTarget(
                library=title,
                precision=precision,
                embed_images=_synchronized(images, embedder.device),
                embed_texts=_synchronized(texts, embedder.device),
            )


def _synchronized(embed: Callable[[Any], Tensor], device: str) -> Callable[[Any], Tensor]:
    """A function that returns when the device has done what the library gave it."""

    def call(inputs: Any) -> Tensor:
        embeddings = embed(inputs)
        synchronize(torch.device(device))
        return embeddings

    return call


_Pixels: TypeAlias = NDArray[np.uint8] | Tensor
_Encoders: TypeAlias = tuple[Callable[[_Pixels], Tensor], Callable[[Sequence[str]], Tensor]]


def _open_clip_encoders(
    library: Any, directory: Path, embedder: Embedder, dtype: torch.dtype
) -> _Encoders:
    name = f"local-dir:{directory}"
    precision = "fp32" if dtype == torch.float32 else "pure_bf16"
    model = library.create_model(name, precision=precision, device=embedder.device).eval()
    tokenizer = library.get_tokenizer(name)

    @torch.inference_mode()
    def images(pixels: _Pixels) -> Tensor:
        ready = normalize(torch.as_tensor(pixels), embedder.config.preprocess_config).to(dtype)
        return model.encode_image(ready, normalize=True)

    @torch.inference_mode()
    def texts(texts: Sequence[str]) -> Tensor:
        return model.encode_text(tokenizer(list(texts)).to(embedder.device), normalize=True)

    return images, texts


def _transformers_encoders(
    library: Any, directory: Path, embedder: Embedder, dtype: torch.dtype
) -> _Encoders:
    library.utils.logging.disable_progress_bar()
    kind = model_class(library, directory)
    model = kind.from_pretrained(directory, local_files_only=True, dtype=dtype)
    model = model.to(embedder.device).eval()
    tokenizer = library.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    # Only a tower that needs its full context is padded to it: elsewhere padding costs time.
    padding = "max_length" if embedder.model.text_tower.needs_full_context else True
    length = embedder.config.text_config.context_length

    @torch.inference_mode()
    def images(pixels: _Pixels) -> Tensor:
        ready = normalize(torch.as_tensor(pixels), embedder.config.preprocess_config).to(dtype)
        return normalised_features(model, "image", pixel_values=ready)

    @torch.inference_mode()
    def texts(texts: Sequence[str]) -> Tensor:
        tokens = tokenizer(
            list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt"
        ).to(embedder.device)
        return normalised_features(model, "text", **tokens)

    return images, texts


_BASELINES = {
    "open_clip": ("open_clip_torch", write_open_clip, _open_clip_encoders),
    "transformers": ("transformers", write_hugging_face, _transformers_encoders),
}
