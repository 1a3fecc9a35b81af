"""Save torch models: `config.json`, `model.safetensors`, the vocabulary, and their checksums."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from twinlens.checkpoints.formats.storage.arrays import write_arrays
from twinlens.checkpoints.native_files import write_model
from twinlens.checkpoints.torch_arrays import to_array, to_arrays
from twinlens.errors import CheckpointError
from twinlens.model.clip import CLIP
from twinlens.model.int8 import int8_precision
from twinlens.text.loading import AnyTokenizer


def save_model(
    model: CLIP,
    directory: Path,
    tokenizer: AnyTokenizer | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model's directory; an existing one is replaced file by file, checksums last.

    Args:
        model: Its configuration is written with the weights.
        directory: Created if it is missing.
        tokenizer: The vocabulary, where it is not CLIP's own.
        dtype: Type on disk of the floating-point weights; as they are if not given.

    Raises:
        CheckpointError: The files cannot be written, the vocabulary is missing, or the model is in
            8 bits.
    """
    require_unquantised(model, directory)
    arrays = {
        name: to_array(value.to(dtype) if dtype and value.is_floating_point() else value)
        for name, value in model.state_dict().items()
    }
    write_model(model.config, arrays, directory, tokenizer)


def require_unquantised(model: CLIP, path: Path) -> None:
    """Refuse models in 8 bits, which can only be used for inference.

    Raises:
        CheckpointError: The model is in 8 bits.
    """
    if int8_precision(model):
        raise CheckpointError(f"{path}: got a model in 8 bits, expected fp32, bf16 or fp16 to save")


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as a safetensors file: see `write_arrays`."""
    write_arrays(to_arrays(tensors), path, metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error
