"""Write towers as ONNX files, and run them in ONNX Runtime.

The graph is OpenVINO's of the same tower, translated (`onnx_graph.py`).

In fp16 the large weights are stored in half precision, and runtimes compute in float32. In int8
matrix products are ONNX Runtime's own `MatMulNBits`: weights and activations in 8 bits, with a
scale for each 32 of them, so that a text's output does not depend on the rest of its batch. All
other large weights are stored in 8 bits and used in float32: integer convolutions are slower there.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.export.openvino import build_graph
from twinlens.export.towers import METADATA_KEY, OUTPUT_NAME, ExportTower, TowerRunner
from twinlens.types import ExportPrecision

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".onnx"

_BLOCK_SIZE = 32
"""Number of values that share a scale, in a weight's column and in the activations."""

_INT8_ACCURACY_LEVEL = 4
"""Value of `accuracy_level` at which activations are in 8 bits too."""

_MAX_INLINE_BYTES = 2**31 - 2**24
"""Most bytes of weights in one file: protobuf is limited to 2 GiB. More go to a second file."""

_MIN_QUANTISED_BYTES = 2**16
"""Smallest size in bytes of a weight that is compressed: biases and norms are not."""


def write_tower(tower: ExportTower, path: Path, metadata: str, precision: ExportPrecision) -> None:
    """Write a tower's graph, with `metadata` in the file's metadata.

    Weights beyond 2 GiB go to `NAME.onnx.data` in the same directory.
    """
    from twinlens.export.onnx_graph import to_onnx  # noqa: PLC0415  an extra

    model = to_onnx(build_graph(tower))
    if precision == "int8":
        model = _quantise_matmuls(model)
    if precision != "fp32":
        _compress_weights(model.graph, precision)
    model.metadata_props[METADATA_KEY] = metadata
    _save(model, path)


def open_runner(path: Path, tower: ExportTower) -> TowerRunner:
    """Open a file in ONNX Runtime, on the CPU."""
    import onnxruntime  # noqa: PLC0415  an extra

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.asarray(session.run([OUTPUT_NAME], {tower.input_name: inputs})[0])

    return run


def _quantise_matmuls(model: Any) -> Any:
    """Quantise the products of activations and weights to 8 bits."""
    import onnx_ir as ir  # noqa: PLC0415

    quantiser = _import_quantiser()(
        ir.to_proto(model),
        bits=8,
        block_size=_BLOCK_SIZE,
        is_symmetric=True,
        accuracy_level=_INT8_ACCURACY_LEVEL,
    )
    quantiser.process()
    return ir.from_proto(quantiser.model.model)


def _import_quantiser() -> Any:
    """Import ONNX Runtime's quantiser, whose module would configure the process's logging."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # with a handler in place it changes nothing
    try:
        from onnxruntime.quantization import matmul_nbits_quantizer  # noqa: PLC0415
    finally:
        root.removeHandler(silent)
    return matmul_nbits_quantizer.MatMulNBitsQuantizer


def _compress_weights(graph: Any, precision: ExportPrecision) -> None:
    """Store large float32 weights in fewer bits, with nodes that convert them to float32."""
    import onnx_ir as ir  # noqa: PLC0415

    tape = ir.tape.Tape()
    for value in list(graph.initializers.values()):
        weight = value.const_value
        if weight.dtype != ir.DataType.FLOAT or weight.nbytes < _MIN_QUANTISED_BYTES:
            continue
        name, array = str(value.name), weight.numpy()
        whole = (
            _store_int8(tape, name, array)
            if precision == "int8"
            else _store_fp16(tape, name, array)
        )
        del graph.initializers[value.name]
        value.replace_all_uses_with(whole)
    for initializer in tape.initializers:
        graph.register_initializer(initializer)
    graph.insert_before(graph[0], tape.nodes)


def _store_fp16(tape: Any, name: str, weight: NDArray[np.float32]) -> Any:
    return _add_dequantised(tape, f"{name}.half", weight.astype(np.float16))


def _store_int8(tape: Any, name: str, weight: NDArray[np.float32]) -> Any:
    if weight.size % _BLOCK_SIZE:
        return _store_fp16(tape, name, weight)
    blocks = weight.reshape(-1, _BLOCK_SIZE)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    integers = np.round(blocks / scales).astype(np.int8)
    whole = tape.op(
        "Mul",
        [
            _add_dequantised(tape, f"{name}.int8", integers),
            _add_constant(tape, f"{name}.scales", scales),
        ],
    )
    shape = _add_constant(tape, f"{name}.shape", np.array(weight.shape))
    return tape.op("Reshape", [whole, shape])


def _add_dequantised(tape: Any, name: str, array: NDArray[np.generic]) -> Any:
    """Add an array of fewer bits to the file, converted to float32 in the graph."""
    import onnx_ir as ir  # noqa: PLC0415

    return tape.op("Cast", [_add_constant(tape, name, array)], {"to": ir.DataType.FLOAT})


def _add_constant(tape: Any, name: str, array: NDArray[np.generic]) -> Any:
    import onnx_ir as ir  # noqa: PLC0415

    return tape.initializer(ir.tensor(array), name=name)


def _save(model: Any, path: Path) -> None:
    import onnx_ir as ir  # noqa: PLC0415

    is_large = _weight_bytes(model) > _MAX_INLINE_BYTES
    ir.save(model, path, external_data=f"{path.name}.data" if is_large else None)


def _weight_bytes(model: Any) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())
