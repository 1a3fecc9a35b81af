"""Write towers as OpenVINO IR, an `.xml` with its weights in a `.bin`, and run them in OpenVINO.

The IR is converted from an ONNX file by OpenVINO's own reader.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.export import ExportedProgram

from twinlens.export import onnx
from twinlens.export.towers import METADATA_KEY, ExportTower, TowerRunner
from twinlens.types import ExportPrecision

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".xml"


def write_program(
    program: ExportedProgram,
    tower: ExportTower,
    path: Path,
    metadata: str,
    precision: ExportPrecision,
) -> None:
    """Write a traced tower, with `metadata` in its `rt_info`; "fp16" halves the weights only."""
    openvino = _import_openvino()
    with TemporaryDirectory(dir=path.parent) as folder:
        plain = Path(folder) / f"{tower.name}{onnx.SUFFIX}"
        onnx.write_program(program, tower, plain, metadata, "fp32")
        model = openvino.Core().read_model(plain)
        model.set_rt_info(metadata, [METADATA_KEY])
        openvino.save_model(model, path, compress_to_fp16=precision == "fp16")


def open_runner(path: Path, tower: ExportTower) -> TowerRunner:
    """Open a file in OpenVINO, on the CPU, in float32: the default may be bfloat16."""
    core = _import_openvino().Core()
    model = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.array(
            model({tower.input_name: inputs})[0]
        )  # a copy: the runtime reuses its buffer

    return run


def _import_openvino() -> Any:
    """Import the package, an extra, without its telemetry, which reports over the network."""
    reporter = "openvino_telemetry"
    is_blocked = reporter not in sys.modules
    if is_blocked:
        sys.modules[reporter] = None  # pyright: ignore[reportArgumentType]  makes its import fail
    try:
        import openvino  # noqa: PLC0415
    finally:
        if is_blocked:
            del sys.modules[reporter]
    return openvino
