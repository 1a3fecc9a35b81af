"""Weights on disk: `config.json`, `model.safetensors`, the vocabulary, and their checksums."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from twinlens.checkpoints.checksums import write_checksums
from twinlens.checkpoints.mismatch import differences
from twinlens.config_io import write_json
from twinlens.errors import CheckpointError
from twinlens.files import made_directory, remove_partials, whole_path
from twinlens.model.clip import CLIP
from twinlens.model.int8 import in_8_bits
from twinlens.text.loading import TOKENIZER_FILE, AnyTokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def save_model(
    model: CLIP,
    directory: Path,
    tokenizer: AnyTokenizer | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model's directory; an existing one is replaced file by file, checksums last.

    Args:
        model: Its configuration travels with the weights.
        directory: Made if it is missing.
        tokenizer: The vocabulary, where it is not CLIP's own.
        dtype: Type on disk of the floating-point weights; as they are if not given.

    Raises:
        CheckpointError: The files cannot be written, the vocabulary is missing, or the model is in
            8 bits.
    """
    require_whole(model, directory)
    if tokenizer is None and model.config.tokenizer != "clip":
        raise CheckpointError(f"{directory}: got no tokenizer, expected one for {TOKENIZER_FILE}")
    tensors = {
        name: value.to(dtype) if dtype and value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    try:
        with made_directory(directory):
            remove_partials(directory)
            write_tensors(tensors, directory / WEIGHTS_FILE)
            if tokenizer is not None and model.config.tokenizer != "clip":
                tokenizer.save(directory / TOKENIZER_FILE)
            write_json(model.config, directory / CONFIG_FILE)
            write_checksums(directory, tensors)
    except OSError as error:
        raise CheckpointError(f"{directory}: the model could not be saved: {error}") from error


def require_whole(model: CLIP, path: Path) -> None:
    """Make sure that the weights are those of a checkpoint.

    Raises:
        CheckpointError: They are in 8 bits, which only answer.
    """
    if in_8_bits(model):
        raise CheckpointError(f"{path}: got a model in 8 bits, expected fp32, bf16 or fp16 to save")


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, header: dict[str, str] | None = None
) -> None:
    """Write a safetensors file whole or not at all, and have it on the disk before it counts.

    Raises:
        CheckpointError: It could not be written (a full disk, say); what was there stays.
    """
    try:
        with whole_path(path) as partial:
            laid_out = {name: value.contiguous() for name, value in tensors.items()}
            save_file(laid_out, partial, header)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: could not be written: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error


def check_tensors(got: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Compare names and shapes.

    Raises:
        CheckpointError: They differ; every difference is listed.
    """
    found = differences(
        missing=[name for name in expected if name not in got],
        unexpected=[name for name in got if name not in expected],
        shapes={
            name: (got[name].shape, value.shape)
            for name, value in expected.items()
            if name in got and got[name].shape != value.shape
        },
    )
    if found:
        raise CheckpointError(f"{path}: does not fit its configuration: {found}")
