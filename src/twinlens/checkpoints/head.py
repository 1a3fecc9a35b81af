"""A classifier of image features, and its file in the model's directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open

from twinlens.checkpoints.checksums import (
    read_checksums,
    update_file_checksum,
    verify_file_checksums,
)
from twinlens.checkpoints.formats.storage.arrays import write_arrays
from twinlens.errors import CheckpointError, os_errors_as
from twinlens.files import ensure_directory
from twinlens.hub.layouts import WEIGHTS_FILE

HEAD_FILE = "classifier.safetensors"


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """Class names and a weight for each, on the model's logit scale."""

    classnames: tuple[str, ...]
    weight: Float32[np.ndarray, "embed class"]


def save_head(head: ClassifierHead, directory: Path) -> None:
    """Write the classifier into a model's directory.

    Raises:
        CheckpointError: It could not be written.
    """
    names = {"classnames": json.dumps(head.classnames)}
    with (
        os_errors_as(CheckpointError, directory, "the classifier could not be saved"),
        ensure_directory(directory),
    ):
        write_arrays({"weight": head.weight.astype(np.float32)}, directory / HEAD_FILE, names)
        update_file_checksum(directory / HEAD_FILE)


def load_head(path: Path, embed_dim: int) -> ClassifierHead | None:
    """Load the classifier of a model's directory; None if it has none.

    Args:
        path: The directory; or its file of weights. Files of other names have no classifier.
        embed_dim: The model's.

    Raises:
        CheckpointError: It is damaged, does not fit the model, or has changed since it was saved.
    """
    file = (path.parent if path.name == WEIGHTS_FILE else path) / HEAD_FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as opened:
            weight = np.asarray(opened.get_tensor("weight"), np.float32)
            names = json.loads((opened.metadata() or {})["classnames"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read as a classifier: {error}") from error
    if not isinstance(names, list) or list(weight.shape) != [embed_dim, len(names)]:
        raise CheckpointError(
            f"{file}: got a weight of {list(weight.shape)}, expected [{embed_dim}, class names]"
        )
    head = ClassifierHead(tuple(map(str, names)), weight)
    if len(set(head.classnames)) < len(head.classnames):
        raise CheckpointError(f"{file}: got a class name twice, expected each once")
    if (sums := read_checksums(file.parent)) is not None:
        verify_file_checksums(file.parent, sums, (HEAD_FILE,))
    return head
