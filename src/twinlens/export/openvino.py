"""Write towers as OpenVINO IR, an `.xml` with its weights in a `.bin`, and run them in OpenVINO.

The graph is built from the configuration and the weights (`inference/openvino_graph.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinlens.export.towers import METADATA_KEY, ExportTower, TowerRunner
from twinlens.types import ExportPrecision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.inference.openvino_graph import Graph

SUFFIX = ".xml"


def build_graph(tower: ExportTower) -> Graph:
    """Build the graph that is exported, an `openvino.Model`."""
    from twinlens.inference.openvino_graph import image_graph, text_graph  # noqa: PLC0415  a slow import

    build = image_graph if tower.name == "image" else text_graph
    return build(tower.config, tower.weights())


def write_tower(tower: ExportTower, path: Path, metadata: str, precision: ExportPrecision) -> None:
    """Write a tower, with `metadata` in its `rt_info`; "fp16" halves the weights only."""
    from twinlens.inference.openvino_runtime import openvino  # noqa: PLC0415  a slow import

    model = build_graph(tower)
    model.set_rt_info(metadata, [METADATA_KEY])
    openvino.save_model(model, path, compress_to_fp16=precision == "fp16")


def open_runner(path: Path, tower: ExportTower) -> TowerRunner:
    """Open a file in OpenVINO, on the CPU, in float32: the default may be bfloat16."""
    from twinlens.inference.openvino_runtime import openvino  # noqa: PLC0415  a slow import

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        # A copy: the runtime reuses its buffer.
        return np.array(model({tower.input_name: inputs})[0])

    return run
