"""Checkpoints of a run: one safetensors file each, whole or not there at all.

A run's directory holds `checkpoints/step-00000500.safetensors` and so on. The file carries every
tensor that the run needs to go on; its header says the step and the data. The order of the
data needs no state: it is a function of seed and step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from twinlens.errors import CheckpointError
from twinlens.files import remove_partials
from twinlens.model.weights import write_tensors

KEEP = 2
"""Checkpoints kept: should the newest be damaged by what ended the run, one is left."""


def save_checkpoint(directory: Path, step: int, tensors: Mapping[str, Tensor], data: str) -> None:
    """Write the checkpoint of `step`, then remove all but the newest `KEEP`.

    Raises:
        CheckpointError: It could not be written (a full disk, say); the earlier ones stay.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_partials(directory)
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot hold checkpoints: {error}") from error
    header = {"step": str(step), "data": data}
    write_tensors(tensors, directory / f"step-{step:08d}.safetensors", header)
    for old in list_checkpoints(directory)[:-KEEP]:
        old.unlink()


def list_checkpoints(directory: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(directory.glob("step-*.safetensors"))


def load_checkpoint(path: Path) -> tuple[int, dict[str, Tensor], str]:
    """The step, the tensors and the description of the data of a checkpoint.

    Raises:
        CheckpointError: It is damaged, or no checkpoint of a run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return int(header["step"]), tensors, header["data"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {error!r}") from error
