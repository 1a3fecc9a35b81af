"""A tower as an ONNX file, and that file in ONNX Runtime.

In half precision the large weights are stored so, and runtimes compute in float32. In 8 bits matrix
products are ONNX Runtime's own `MatMulNBits`: weights and activations in 8 bits, each 32 of them
with a scale, so that a text's answer does not depend on the others of its batch. All other large
weights are stored in 8 bits and used in float32: integer convolutions are slower there.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export import ExportedProgram

from twinlens.export.towers import (
    METADATA_KEY,
    OUTPUT_NAME,
    ExportTower,
    TowerRunner,
    suppress_exporter_warnings,
)
from twinlens.types import ExportPrecision

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".onnx"
OPSET = 20

_BLOCK_SIZE = 32
"""Numbers that share a scale: of a weight's column, and of what it is multiplied with."""

_INT8_ACCURACY_LEVEL = 4
"""As `accuracy_level`: activations are in 8 bits too."""

_MAX_INLINE_BYTES = 2**31 - 2**24
"""Bytes of weights that one file holds: protobuf ends at 2 GiB. More go to a file beside it."""

_MIN_QUANTISED_BYTES = 2**16
"""Bytes of a weight worth storing in fewer: biases and norms stay as they are."""


def write_program(
    program: ExportedProgram,
    tower: ExportTower,
    path: Path,
    metadata: str,
    precision: ExportPrecision,
) -> None:
    """Write a traced tower, with `metadata` in its metadata.

    Weights beyond 2 GiB go to `NAME.onnx.data` beside it, which belongs to it.
    """
    from onnx_ir.passes import common  # noqa: PLC0415  an extra

    batch = ({0: torch.export.Dim("batch")},)
    with torch.no_grad(), suppress_exporter_warnings():
        converted = torch.onnx.export(
            program,
            (tower.inputs[:2],),
            input_names=[tower.input_name],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=batch,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert converted is not None
    model = _quantise_matmuls(converted.model) if precision == "int8" else converted.model
    if precision != "fp32":
        _compress_weights(model.graph, precision)
    common.ClearMetadataAndDocStringPass()(model)  # what torch notes of each node
    model.metadata_props[METADATA_KEY] = metadata
    _save(model, path)


def open_runner(path: Path, tower: ExportTower) -> TowerRunner:
    """The file in ONNX Runtime, on the processor."""
    import onnxruntime  # noqa: PLC0415  an extra

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.asarray(session.run([OUTPUT_NAME], {tower.input_name: inputs})[0])

    return run


def _quantise_matmuls(model: Any) -> Any:
    """The model with its products of activations and weights in 8 bits."""
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
    """ONNX Runtime's, whose module turns on the logging of the whole process."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # where there is a handler it leaves things as they are
    try:
        from onnxruntime.quantization import matmul_nbits_quantizer  # noqa: PLC0415
    finally:
        root.removeHandler(silent)
    return matmul_nbits_quantizer.MatMulNBitsQuantizer


def _compress_weights(graph: Any, precision: ExportPrecision) -> None:
    """Store large float32 weights in fewer bits, with the nodes that make them float32 again."""
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
    """Numbers of few bits in the file, as float32 in the graph."""
    import onnx_ir as ir  # noqa: PLC0415

    return tape.op("Cast", [_add_constant(tape, name, array)], {"to": ir.DataType.FLOAT})


def _add_constant(tape: Any, name: str, array: NDArray[np.generic]) -> Any:
    import onnx_ir as ir  # noqa: PLC0415

    return tape.initializer(ir.tensor(array), name=name)


def _save(model: Any, path: Path) -> None:
    import onnx_ir as ir  # noqa: PLC0415

    apart = _weight_bytes(model) > _MAX_INLINE_BYTES
    ir.save(model, path, external_data=f"{path.name}.data" if apart else None)


def _weight_bytes(model: Any) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())
