"""Write towers as torch's exported programs (`.pt2`), which run without twinlens."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from twinlens.export.towers import METADATA_KEY, ExportTower, TowerRunner, export_program
from twinlens.types import ExportPrecision

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".pt2"


def write_tower(tower: ExportTower, path: Path, metadata: str, precision: ExportPrecision) -> None:
    """Trace a tower and write it, with `metadata` as an extra file."""
    assert precision == "fp32"
    with warnings.catch_warnings():
        # A warning about every weight in channels-last layout, which is stored correctly.
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        extra = {f"{METADATA_KEY}.json": metadata}
        torch.export.save(export_program(tower), path, extra_files=extra)


def open_runner(path: Path, tower: ExportTower) -> TowerRunner:
    """Open a file in torch."""
    module = torch.export.load(path).module()

    @torch.inference_mode()
    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        return module(torch.from_numpy(inputs)).numpy()

    return run
