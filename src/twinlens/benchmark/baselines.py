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

from twinlens.checkpoints.formats import hugging_face, open_clip
from twinlens.embed.embedder import Embedder
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.export.references import cause_of, model_class, unit_features
from twinlens.images.decode import normalize

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What peers are asked in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A library with our model: unit vectors of raw pixels on the device, and of strings.

    Attributes:
        library: Its name and version.
        precision: What its weights are in, and what it computes in.
        images: uint8 [n, 3, size, size] to [n, embed_dim]; normalised by our code.
        texts: Strings to [n, embed_dim]; cut into tokens by its own.
    """

    library: str
    precision: str
    images: Callable[[Tensor], Tensor]
    texts: Callable[[Sequence[str]], Tensor]


def open_peers(names: Sequence[str], lens: Embedder, precisions: Sequence[str]) -> list[Peer]:
    """The model in other libraries, read from what is written for them.

    Args:
        names: "open_clip", "transformers".
        lens: The model, with both towers; peers are put on its device.
        precisions: Those of `PRECISIONS` among them are opened.

    Raises:
        UnknownNameError: There is no such peer.
        ConfigError: A library is not installed, or none of the precisions is asked for.
        CheckpointError: A library has no such model, and the message says why.
    """
    asked = [precision for precision in precisions if precision in PRECISIONS]
    if names and not asked:
        raise ConfigError(
            f"compare: got {', '.join(precisions)}, expected one of {', '.join(PRECISIONS)} among "
            "the precisions: peers are asked in no other"
        )
    return [peer for name in names for peer in _open(name, lens, asked)]


def _open(name: str, lens: Embedder, precisions: Sequence[str]) -> Iterator[Peer]:
    if name not in _PEERS:
        raise UnknownNameError("peer", name, _PEERS)
    package, write, build = _PEERS[name]
    library = _imported(name, package)
    title = f"{name} {importlib.metadata.version(package)}"
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / name
        write(lens.model, directory, lens.tokenizer)
        for precision in precisions:
            images, texts = build(library, directory, lens, PRECISIONS[precision])
            yield Peer(library=title, precision=precision, images=images, texts=texts)


def _imported(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # libraries break in any way at the import
        raise ConfigError(
            f"compare: {name} cannot be asked: {cause_of(error, name, package)}"
        ) from error


_Encoders = tuple[Callable[[Tensor], Tensor], Callable[[Sequence[str]], Tensor]]


def _open_clip(library: Any, directory: Path, lens: Embedder, dtype: torch.dtype) -> _Encoders:
    name = f"local-dir:{directory}"
    precision = "fp32" if dtype == torch.float32 else "pure_bf16"
    model = library.create_model(name, precision=precision, device=lens.device).eval()
    tokenizer = library.get_tokenizer(name)

    @torch.inference_mode()
    def images(pixels: Tensor) -> Tensor:
        ready = normalize(pixels, lens.config.image_input).to(dtype)
        return model.encode_image(ready, normalize=True)

    @torch.inference_mode()
    def texts(texts: Sequence[str]) -> Tensor:
        return model.encode_text(tokenizer(list(texts)).to(lens.device), normalize=True)

    return images, texts


def _transformers(library: Any, directory: Path, lens: Embedder, dtype: torch.dtype) -> _Encoders:
    library.utils.logging.disable_progress_bar()
    kind = model_class(library, directory)
    model = kind.from_pretrained(directory, local_files_only=True, dtype=dtype)
    model = model.to(lens.device).eval()
    tokenizer = library.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    # A tower that wants its whole context gets it; to any other, padding is only work.
    padding = "max_length" if lens.model.text_tower.needs_padding else True
    length = lens.config.text_input.context_length

    @torch.inference_mode()
    def images(pixels: Tensor) -> Tensor:
        ready = normalize(pixels, lens.config.image_input).to(dtype)
        return unit_features(model, "image", pixel_values=ready)

    @torch.inference_mode()
    def texts(texts: Sequence[str]) -> Tensor:
        tokens = tokenizer(
            list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt"
        ).to(lens.device)
        return unit_features(model, "text", **tokens)

    return images, texts


_PEERS = {
    "open_clip": ("open_clip_torch", open_clip.write, _open_clip),
    "transformers": ("transformers", hugging_face.write, _transformers),
}
