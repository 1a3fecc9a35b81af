"""OpenVINO graphs translated to ONNX, node by node, without torch.

So a tower is defined once, in `inference/openvino_graph.py`. Axes and permutations become
attributes, transposed weights are stored transposed, and a layer norm becomes one node. The
packages are extras: only what writes ONNX imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from twinlens.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Op: TypeAlias = Any
"""A node of an `openvino.Model`."""

Value: TypeAlias = Any
"""An `onnx_ir.Value`."""

Translate: TypeAlias = "Callable[[_Translation, Op], Value | Sequence[Value | None]]"
"""A function that writes one node's form in ONNX and gives its outputs."""

OPSET = 20
"""The first with `Gelu`."""

_IR_VERSION = 9
"""The version of files that came with this opset."""

_DYNAMIC_DIMENSIONS = ("batch", "length")
"""Names of an input's dimensions, where their sizes are free."""


def to_onnx(graph: Any) -> ir.Model:
    """Translate a graph of one output, an `openvino.Model`, with its names of inputs and output.

    Raises:
        CheckpointError: An operation of the graph has no translation.
    """
    translation = _Translation()
    for op in graph.get_ordered_ops():
        translation.add(op)
    whole = ir.Graph(
        translation.parameters,
        translation.results,
        nodes=translation.tape.nodes,
        initializers=translation.tape.initializers,
        opset_imports={"": OPSET},
        name=graph.get_friendly_name(),
    )
    model = ir.Model(whole, ir_version=_IR_VERSION, producer_name="twinlens")
    common.RemoveUnusedNodesPass()(model)  # parts of layer norms
    common.DeduplicateInitializersPass()(model)  # shapes and other small constants
    return model


class _Translation:
    """An ONNX graph while it is written."""

    def __init__(self) -> None:
        self.tape = ir.tape.Tape()
        self.parameters: list[Value] = []
        self.results: list[Value] = []
        self._values: dict[tuple[str, int], Value] = {}

    def add(self, op: Op) -> None:
        """Write a node; a constant is written where it is read."""
        kind = op.get_type_name()
        if kind == "Constant":
            return
        if kind not in _TRANSLATIONS:
            raise _no_translation(op, "has no translation")
        written = _TRANSLATIONS[kind](self, op)
        for i, value in enumerate(written if isinstance(written, Sequence) else [written]):
            if value is not None:
                self._values[op.get_name(), i] = value

    def node(self, kind: str, *inputs: Value, **attributes: Any) -> Value:
        """Write an ONNX node of one output."""
        return self.tape.op(kind, inputs, attributes)

    def constant(self, array: NDArray[Any]) -> Value:
        """Write a constant, numbered: names of OpenVINO's differ from run to run."""
        name = f"constant_{len(self.tape.initializers)}"
        return self.tape.initializer(ir.tensor(array, name=name))

    def input(self, op: Op, index: int) -> Value:
        """An input of a node."""
        output = op.input_value(index)
        key = output.get_node().get_name(), output.get_index()
        if key not in self._values:
            array = _constant_array(op, index)
            if array is None:
                raise _no_translation(output.get_node(), f"has no output {key[1]}")
            self._values[key] = self.constant(array)
        return self._values[key]

    def inputs(self, op: Op) -> list[Value]:
        """All inputs of a node."""
        return [self.input(op, i) for i in range(op.get_input_size())]


def _source(op: Op, index: int) -> Op:
    return op.input_value(index).get_node()


def _constant_array(op: Op, index: int) -> NDArray[Any] | None:
    source = _source(op, index)
    return source.data if source.get_type_name() == "Constant" else None


def _static(op: Op, index: int) -> NDArray[Any]:
    """An input that must be known when the graph is written."""
    array = _constant_array(op, index)
    if array is None:
        raise _no_translation(op, f"computes its input {index}")
    return array


def _no_translation(op: Op, why: str) -> CheckpointError:
    return CheckpointError(f"ONNX: the operation {op.get_type_name()} {why}")


def _require(op: Op, **expected: Any) -> None:
    """Refuse values of attributes that have no translation."""
    attributes = op.get_attributes()
    for name, value in expected.items():
        got = str(attributes[name]).lower()
        if got != str(value).lower():
            raise _no_translation(op, f"has {name} {got}, expected {value}")


def _element_type(op: Op, index: int = 0) -> ir.DataType:
    return ir.DataType.from_numpy(op.get_output_element_type(index).to_dtype())


def _renamed(kind: str, **attributes: Callable[[Mapping[str, Any]], Any]) -> Translate:
    """An operation that ONNX has with the same inputs; its attributes are made of ours."""

    def translate(graph: _Translation, op: Op) -> Value:
        ours = op.get_attributes()
        theirs = {name: convert(ours) for name, convert in attributes.items()}
        return graph.node(kind, *graph.inputs(op), **theirs)

    return translate


def _parameter(graph: _Translation, op: Op) -> Value:
    dimensions = [
        dimension.get_length() if dimension.is_static else name
        for dimension, name in zip(
            op.get_output_partial_shape(0), (*_DYNAMIC_DIMENSIONS, "", ""), strict=False
        )
    ]
    name = op.output(0).get_any_name()
    value = ir.Value(name=name, shape=ir.Shape(dimensions), type=ir.TensorType(_element_type(op)))
    graph.parameters.append(value)
    return value


def _result(graph: _Translation, op: Op) -> Value:
    [batch, *sizes] = op.get_output_partial_shape(0)
    first = batch.get_length() if batch.is_static else _DYNAMIC_DIMENSIONS[0]
    value = graph.input(op, 0)
    value.name = op.input_value(0).get_any_name()
    value.shape = ir.Shape([first, *(size.get_length() for size in sizes)])
    value.type = ir.TensorType(_element_type(op))
    graph.results.append(value)
    return value


def _add(graph: _Translation, op: Op) -> Value:
    """A sum, or a layer norm whose last step it is."""
    scaled = _source(op, 0)
    if scaled.get_type_name() == "Multiply" and _source(scaled, 0).get_type_name() == "MVN":
        gain, bias = _constant_array(scaled, 1), _constant_array(op, 1)
        if gain is not None and bias is not None and gain.ndim == bias.ndim == 1:
            return _layer_norm(graph, _source(scaled, 0), gain, bias)
    return graph.node("Add", *graph.inputs(op))


def _layer_norm(
    graph: _Translation,
    op: Op,
    gain: NDArray[Any] | None = None,
    bias: NDArray[Any] | None = None,
) -> Value:
    """A normalisation over the last axis; what its nodes before the bias give is not used."""
    _require(op, normalize_variance=True, eps_mode="inside_sqrt")
    shape = op.get_output_partial_shape(0)
    if _static(op, 1).tolist() not in ([-1], [len(shape) - 1]):
        raise _no_translation(op, "has axes other than the last")
    if gain is None:
        gain = np.ones(shape[len(shape) - 1].get_length(), np.float32)
    parts = [graph.constant(part) for part in (gain, bias) if part is not None]
    eps = op.get_attributes()["eps"]
    return graph.node("LayerNormalization", graph.input(op, 0), *parts, epsilon=eps)


def _matmul(graph: _Translation, op: Op) -> Value:
    transposed = op.get_attributes()
    pair = [
        _transposed(graph, op, i) if transposed[f"transpose_{name}"] else graph.input(op, i)
        for i, name in enumerate("ab")
    ]
    return graph.node("MatMul", *pair)


def _transposed(graph: _Translation, op: Op, index: int) -> Value:
    """An input with its last two axes exchanged: a weight as it is stored, the rest in a node."""
    array = _constant_array(op, index)
    if array is not None:
        return graph.constant(array.swapaxes(-1, -2))
    axes = list(range(len(op.get_input_partial_shape(index))))
    axes[-2:] = axes[:-3:-1]
    return graph.node("Transpose", graph.input(op, index), perm=axes)


def _convolution(graph: _Translation, op: Op) -> Value:
    return graph.node("Conv", *graph.inputs(op), **_window(op, "dilations"))


def _average_pool(graph: _Translation, op: Op) -> Value:
    _require(op, rounding_type="floor")
    attributes = op.get_attributes()
    counts = int(not attributes["exclude-pad"])
    kernel = attributes["kernel"]
    window = _window(op)
    return graph.node(
        "AveragePool", graph.input(op, 0), kernel_shape=kernel, count_include_pad=counts, **window
    )


def _window(op: Op, *names: str) -> dict[str, Any]:
    """Attributes that convolutions and pooling share."""
    _require(op, auto_pad="explicit")
    attributes = op.get_attributes()
    pads = [*attributes["pads_begin"], *attributes["pads_end"]]
    return {"pads": pads} | {name: attributes[name] for name in ("strides", *names)}


def _gather(graph: _Translation, op: Op) -> Value:
    batch_dims, axis = op.get_attributes()["batch_dims"], int(_static(op, 2).item())
    data, indices = graph.input(op, 0), graph.input(op, 1)
    if batch_dims == 0:
        return graph.node("Gather", data, indices, axis=axis)
    if axis != batch_dims:
        raise _no_translation(op, f"has axis {axis} after {batch_dims} batch dimensions")
    positions = graph.node("Unsqueeze", indices, graph.constant(np.array([-1])))
    return graph.node("GatherND", data, positions, batch_dims=batch_dims)


def _slice(graph: _Translation, op: Op) -> Value:
    data, start, stop, step, axes = graph.inputs(op)
    return graph.node("Slice", data, start, stop, axes, step)


def _shape_of(graph: _Translation, op: Op) -> Value:
    _require(op, output_type="i64")
    return graph.node("Shape", graph.input(op, 0))


def _transpose(graph: _Translation, op: Op) -> Value:
    return graph.node("Transpose", graph.input(op, 0), perm=_static(op, 1).tolist())


def _split(graph: _Translation, op: Op) -> Sequence[Value]:
    count, axis = op.get_output_size(), int(_static(op, 1).item())
    attributes = {"axis": axis, "num_outputs": count}
    return graph.tape.op_multi_out("Split", [graph.input(op, 0)], attributes, num_outputs=count)


def _expand(graph: _Translation, op: Op) -> Value:
    if op.get_attributes()["mode"] not in ("numpy", "bidirectional"):
        raise _no_translation(op, f"has mode {op.get_attributes()['mode']}")
    return graph.node("Expand", graph.input(op, 0), graph.input(op, 1))


def _normalize_l2(graph: _Translation, op: Op) -> Value:
    """Division by a length that is at least the root of a small number, or has it added."""
    attributes = op.get_attributes()
    data, axes = graph.inputs(op)
    eps = graph.constant(np.array(attributes["eps"], np.float32))
    squares = graph.node("ReduceSumSquare", data, axes, keepdims=1)
    bounded = graph.node("Max" if attributes["eps_mode"] == "max" else "Add", squares, eps)
    return graph.node("Div", data, graph.node("Sqrt", bounded))


def _swish(graph: _Translation, op: Op) -> Value:
    data, *beta = graph.inputs(op)
    scaled = graph.node("Mul", data, *beta) if beta else data
    return graph.node("Mul", data, graph.node("Sigmoid", scaled))


def _convert(graph: _Translation, op: Op) -> Value:
    return graph.node("Cast", graph.input(op, 0), to=_element_type(op))


def _arg_max(graph: _Translation, op: Op) -> Sequence[Value | None]:
    """The place of the first of the largest values; the values themselves are not written."""
    _require(op, mode="max", index_element_type="i64")
    if _static(op, 1).item() != 1:
        raise _no_translation(op, f"takes {_static(op, 1).item()} values, expected 1")
    axis = op.get_attributes()["axis"]
    return None, graph.node("ArgMax", graph.input(op, 0), axis=axis, keepdims=1)


_GELUS = {"ERF": "none", "TANH": "tanh"}

_TRANSLATIONS: Mapping[str, Translate] = {
    "Add": _add,
    "AvgPool": _average_pool,
    "Broadcast": _expand,
    "Concat": _renamed("Concat", axis=lambda ours: ours["axis"]),
    "Convert": _convert,
    "Convolution": _convolution,
    "Equal": _renamed("Equal"),
    "Gather": _gather,
    "Gelu": _renamed("Gelu", approximate=lambda ours: _GELUS[ours["approximation_mode"]]),
    "MVN": _layer_norm,
    "MatMul": _matmul,
    "Multiply": _renamed("Mul"),
    "NormalizeL2": _normalize_l2,
    "Parameter": _parameter,
    "ReduceMean": _renamed("ReduceMean", keepdims=lambda ours: int(ours["keep_dims"])),
    "Relu": _renamed("Relu"),
    "Reshape": _renamed("Reshape", allowzero=lambda ours: int(not ours["special_zero"])),
    "Result": _result,
    "ShapeOf": _shape_of,
    "Slice": _slice,
    "Softmax": _renamed("Softmax", axis=lambda ours: ours["axis"]),
    "Split": _split,
    "Squeeze": _renamed("Squeeze"),
    "Subtract": _renamed("Sub"),
    "Swish": _swish,
    "TopK": _arg_max,
    "Transpose": _transpose,
    "Unsqueeze": _renamed("Unsqueeze"),
}
