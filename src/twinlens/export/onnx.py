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

from twinlens.export.towers import KEY, OUTPUT, Precision, Run, Tower, without_torch_s_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".onnx"
OPSET = 20

_BLOCK = 32
"""Numbers that share a scale: of a weight's column, and of what it is multiplied with."""

_IN_INTEGERS = 4
"""As `accuracy_level`: activations are in 8 bits too."""

_MOST_INLINE = 2**31 - 2**24
"""Bytes of weights that one file holds: protobuf ends at 2 GiB. More go to a file beside it."""

_LARGE = 2**16
"""Bytes of a weight worth storing in fewer: biases and norms stay as they are."""


def write(
    program: ExportedProgram, tower: Tower, path: Path, facts: str, precision: Precision
) -> None:
    """Write a traced tower, with `facts` in its metadata.

    Weights beyond 2 GiB go to `NAME.onnx.data` beside it, which belongs to it.
    """
    from onnx_ir.passes import common  # noqa: PLC0415  an extra

    batch = ({0: torch.export.Dim("batch")},)
    with torch.no_grad(), without_torch_s_warnings():
        converted = torch.onnx.export(
            program,
            (tower.probes[:2],),
            input_names=[tower.input],
            output_names=[OUTPUT],
            dynamic_shapes=batch,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert converted is not None
    model = _in_integers(converted.model) if precision == "int8" else converted.model
    if precision != "fp32":
        _store_small(model.graph, precision)
    common.ClearMetadataAndDocStringPass()(model)  # what torch notes of each node
    model.metadata_props[KEY] = facts
    _save(model, path)


def reader(path: Path, tower: Tower) -> Run:
    """The file in ONNX Runtime, on the processor."""
    import onnxruntime  # noqa: PLC0415  an extra

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.asarray(session.run([OUTPUT], {tower.input: inputs})[0])

    return run


def _in_integers(model: Any) -> Any:
    """The model with its products of activations and weights in 8 bits."""
    import onnx_ir as ir  # noqa: PLC0415

    quantiser = _quantiser_class()(
        ir.to_proto(model),
        bits=8,
        block_size=_BLOCK,
        is_symmetric=True,
        accuracy_level=_IN_INTEGERS,
    )
    quantiser.process()
    return ir.from_proto(quantiser.model.model)


def _quantiser_class() -> Any:
    """ONNX Runtime's, whose module turns on the logging of the whole process."""
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # where there is a handler it leaves things as they are
    try:
        from onnxruntime.quantization import matmul_nbits_quantizer  # noqa: PLC0415
    finally:
        root.removeHandler(silent)
    return matmul_nbits_quantizer.MatMulNBitsQuantizer


def _store_small(graph: Any, precision: Precision) -> None:
    """Store large float32 weights in fewer bits, with the nodes that make them float32 again."""
    import onnx_ir as ir  # noqa: PLC0415

    tape = ir.tape.Tape()
    for value in list(graph.initializers.values()):
        weight = value.const_value
        if weight.dtype != ir.DataType.FLOAT or weight.nbytes < _LARGE:
            continue
        name, array = str(value.name), weight.numpy()
        whole = (
            _in_bytes(tape, name, array) if precision == "int8" else _in_halves(tape, name, array)
        )
        del graph.initializers[value.name]
        value.replace_all_uses_with(whole)
    for initializer in tape.initializers:
        graph.register_initializer(initializer)
    graph.insert_before(graph[0], tape.nodes)


def _in_halves(tape: Any, name: str, weight: NDArray[np.float32]) -> Any:
    return _stored(tape, f"{name}.half", weight.astype(np.float16))


def _in_bytes(tape: Any, name: str, weight: NDArray[np.float32]) -> Any:
    if weight.size % _BLOCK:
        return _in_halves(tape, name, weight)
    blocks = weight.reshape(-1, _BLOCK)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    integers = np.round(blocks / scales).astype(np.int8)
    whole = tape.op(
        "Mul",
        [_stored(tape, f"{name}.int8", integers), _constant(tape, f"{name}.scales", scales)],
    )
    shape = _constant(tape, f"{name}.shape", np.array(weight.shape))
    return tape.op("Reshape", [whole, shape])


def _stored(tape: Any, name: str, numbers: NDArray[np.generic]) -> Any:
    """Numbers of few bits in the file, as float32 in the graph."""
    import onnx_ir as ir  # noqa: PLC0415

    return tape.op("Cast", [_constant(tape, name, numbers)], {"to": ir.DataType.FLOAT})


def _constant(tape: Any, name: str, numbers: NDArray[np.generic]) -> Any:
    import onnx_ir as ir  # noqa: PLC0415

    return tape.initializer(ir.tensor(numbers), name=name)


def _save(model: Any, path: Path) -> None:
    import onnx_ir as ir  # noqa: PLC0415

    apart = _bytes(model) > _MOST_INLINE
    ir.save(model, path, external_data=f"{path.name}.data" if apart else None)


def _bytes(model: Any) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())
