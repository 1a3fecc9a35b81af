"""A tower as torch's own exported program, a `.pt2`: it runs without twinlens."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.export import ExportedProgram

from twinlens.export.towers import METADATA_KEY, ExportTower, TowerRunner
from twinlens.types import ExportPrecision

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".pt2"


def write_program(
    program: ExportedProgram,
    tower: ExportTower,
    path: Path,
    metadata: str,
    precision: ExportPrecision,
) -> None:
    """Write a traced tower, with `metadata` in its extra file."""
    assert precision == "fp32"
    with warnings.catch_warnings():
        # Said of every weight whose channels come last in memory, to which it does no harm.
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        torch.export.save(program, path, extra_files={f"{METADATA_KEY}.json": metadata})


def open_runner(path: Path, tower: ExportTower) -> TowerRunner:
    """The file as torch reads it."""
    module = torch.export.load(path).module()

    @torch.inference_mode()
    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        return module(torch.from_numpy(inputs)).numpy()

    return run
