"""A tower as an ONNX file, and that file in ONNX Runtime.

The opset is 20. In half precision the large weights are stored so, and a runtime computes in
float32. In 8 bits matrix products and convolutions are ONNX Runtime's dynamic quantisation:
weights in unsigned 8 bits, by output channel, and activations scaled as they come.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export import ExportedProgram

from twinlens.export.towers import KEY, OUTPUT, Precision, Run, Tower, without_torch_s_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".onnx"
OPSET = 20

_QUANTISED = ["MatMul", "Gemm", "Conv"]

_MOST_INLINE = 2**31 - 2**24
"""Bytes of weights that one file holds: protobuf ends at 2 GiB. More go to a file beside it."""

_WORTH_HALVING = 2**16
"""Bytes from which weights are stored in half precision: biases and norms stay as they are."""


def write(
    program: ExportedProgram, tower: Tower, path: Path, facts: str, precision: Precision
) -> None:
    """Write a traced tower, with `facts` in its metadata.

    Weights beyond 2 GiB go to `NAME.onnx.data` beside it, which belongs to it.
    """
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
    model = _quantised(converted.model) if precision == "int8" else converted.model
    if precision != "fp32":
        _halve(model)  # in 8 bits, what is no product: the table of tokens above all
    model.metadata_props[KEY] = facts
    _save(model, path)


def reader(path: Path, tower: Tower) -> Run:
    """The file in ONNX Runtime, on the processor."""
    import onnxruntime  # noqa: PLC0415  an extra

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.asarray(session.run([OUTPUT], {tower.input: inputs})[0])

    return run


def _quantised(model: Any) -> Any:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415
    from onnxscript import ir  # noqa: PLC0415

    with TemporaryDirectory() as folder:
        plain, shaped, quantised = (Path(folder) / f"{name}.onnx" for name in "abc")
        _save(model, plain)
        apart = _bytes(model) > _MOST_INLINE
        quant_pre_process(
            plain,
            shaped,
            skip_optimization=True,
            skip_symbolic_shape=True,
            save_as_external_data=apart,
        )
        quantize_dynamic(
            shaped,
            quantised,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            # Signed weights overflow in the products of processors without VNNI.
            weight_type=QuantType.QUInt8,
            use_external_data_format=apart,
        )
        loaded = ir.load(quantised)
        ir.external_data.load_to_model(loaded)  # the files go
    return loaded


def _halve(model: Any) -> None:
    """Store large float32 weights in half precision, each with a cast where it is used."""
    from onnxscript import ir  # noqa: PLC0415

    graph = model.graph
    for value in list(graph.initializers.values()):
        weight = value.const_value
        if weight.dtype != ir.DataType.FLOAT or weight.nbytes < _WORTH_HALVING:
            continue
        half = ir.Value(
            name=f"{value.name}_half",
            shape=value.shape,
            type=ir.TensorType(ir.DataType.FLOAT16),
            const_value=ir.tensor(weight.numpy().astype(np.float16)),
        )
        cast = ir.node("Cast", [half], attributes={"to": ir.DataType.FLOAT})
        del graph.initializers[value.name]
        graph.initializers[half.name] = half
        [full] = cast.outputs
        full.name, full.shape, full.type = value.name, value.shape, value.type
        value.replace_all_uses_with(full)
        graph.insert_before(graph[0], cast)


def _save(model: Any, path: Path) -> None:
    from onnxscript import ir  # noqa: PLC0415

    apart = _bytes(model) > _MOST_INLINE
    ir.save(model, path, external_data=f"{path.name}.data" if apart else None)


def _bytes(model: Any) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())
