"""Other libraries with the same model, to be measured beside ours."""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twinlens.checkpoints.writer import write_hugging_face, write_open_clip
from twinlens.embed.embedder import Embedder
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.export.references import model_class, normalised_features, translate_library_errors
from twinlens.inference.preprocess import normalize

BASELINE_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What peers are asked in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineModel:
    """A library with our model: unit vectors of raw pixels on the device, and of strings.

    Attributes:
        library: Its name and version.
        precision: What its weights are in, and what it computes in.
        embed_images: uint8 [n, 3, size, size] to [n, embed_dim]; normalised by our code.
        embed_texts: Strings to [n, embed_dim]; cut into tokens by its own.
    """

    library: str
    precision: str
    embed_images: Callable[[Tensor], Tensor]
    embed_texts: Callable[[Sequence[str]], Tensor]


def open_baselines(
    names: Sequence[str], embedder: Embedder, precisions: Sequence[str]
) -> list[BaselineModel]:
    """The model in other libraries, read from what is written for them.

    Args:
        names: "open_clip", "transformers".
        embedder: The model, with both towers; peers are put on its device.
        precisions: Those of `BASELINE_DTYPES` among them are opened.

    Raises:
        UnknownNameError: There is no such peer.
        ConfigError: A library is not installed, or none of the precisions is asked for.
        CheckpointError: A library has no such model, and the message says why.
    """
    asked = [precision for precision in precisions if precision in BASELINE_DTYPES]
    if names and not asked:
        raise ConfigError(
            f"compare: got {', '.join(precisions)}, expected one of {', '.join(BASELINE_DTYPES)} "
            f"among "
            "the precisions: peers are asked in no other"
        )
    return [peer for name in names for peer in _open_baseline(name, embedder, asked)]


def _open_baseline(
    name: str, embedder: Embedder, precisions: Sequence[str]
) -> Iterator[BaselineModel]:
    if name not in _BASELINES:
        raise UnknownNameError("peer", name, _BASELINES)
    package, write, build = _BASELINES[name]
    with translate_library_errors("compare", name, package, ConfigError):
        library = importlib.import_module(name)
    title = f"{name} {importlib.metadata.version(package)}"
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / name
        write(embedder.model, directory, embedder.tokenizer)
        for precision in precisions:
            images, texts = build(library, directory, embedder, BASELINE_DTYPES[precision])
            yield BaselineModel(
                library=title, precision=precision, embed_images=images, embed_texts=texts
            )


_Encoders = tuple[Callable[[Tensor], Tensor], Callable[[Sequence[str]], Tensor]]


def _open_clip_encoders(
    library: Any, directory: Path, embedder: Embedder, dtype: torch.dtype
) -> _Encoders:
    name = f"local-dir:{directory}"
    precision = "fp32" if dtype == torch.float32 else "pure_bf16"
    model = library.create_model(name, precision=precision, device=embedder.device).eval()
    tokenizer = library.get_tokenizer(name)

    @torch.inference_mode()
    def images(pixels: Tensor) -> Tensor:
        ready = normalize(pixels, embedder.config.preprocess_config).to(dtype)
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
    # A tower that wants its whole context gets it; to any other, padding is only work.
    padding = "max_length" if embedder.model.text_tower.needs_full_context else True
    length = embedder.config.text_config.context_length

    @torch.inference_mode()
    def images(pixels: Tensor) -> Tensor:
        ready = normalize(pixels, embedder.config.preprocess_config).to(dtype)
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
