"""A graph in ONNX says what it says in OpenVINO, whatever it is built of."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from tests.inference.test_openvino_graph import IMAGE_TOWERS, TEXT_TOWERS, model_of, run
from twinlens.checkpoints.torch_arrays import to_arrays
from twinlens.errors import CheckpointError
from twinlens.export.onnx_graph import to_onnx
from twinlens.inference.openvino_graph import Graph, image_graph, text_graph
from twinlens.inference.openvino_runtime import openvino, ops

TOLERANCE = 2e-5


def image_tower(name: str) -> Graph:
    vision = IMAGE_TOWERS[name]
    width = getattr(vision, "width", 8)
    embed_dim = width if getattr(vision, "projection", "linear") == "none" else 8
    model = model_of(vision=vision, text=None, embed_dim=embed_dim)
    return image_graph(model.config, to_arrays(model.state_dict()))


def text_tower(name: str) -> Graph:
    text = TEXT_TOWERS[name]
    embed_dim = text.width if text.projection == "none" else 8
    model = model_of(vision=None, preprocess=None, text=text, embed_dim=embed_dim)
    return text_graph(model.config, to_arrays(model.state_dict()))


def written(graph: Graph) -> bytes:
    return ir.to_proto(to_onnx(graph)).SerializeToString(deterministic=True)


def session(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    opened = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [one] = opened.get_inputs()
    return lambda inputs: opened.run(["embeddings"], {one.name: inputs})[0]


def images(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 3, 32, 32)).astype(np.float32)


def tokens(count: int, length: int) -> np.ndarray:
    """Ids with two ends of each kind, of which the first counts."""
    ids = np.random.default_rng(4).integers(6, 60, (count, length))
    for place in (length // 2, length - 1):
        ids[:, place] = 5
    ids[1:, length // 3] = ids[1:, -2] = 63
    return ids


@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_image_towers(name: str):
    graph = image_tower(name)
    ask = session(written(graph))
    for count in (1, 3):
        difference = ask(images(count)) - run(graph, images(count))
        assert np.abs(difference).max() < TOLERANCE


@pytest.mark.parametrize("name", TEXT_TOWERS)
def test_text_towers_at_any_length(name: str):
    graph = text_tower(name)
    ask = session(written(graph))
    for count, length in ((1, 12), (3, 12), (3, 7), (1, 3)):
        rows = tokens(count, length)
        assert np.abs(ask(rows) - run(graph, rows)).max() < TOLERANCE


@pytest.mark.parametrize("tower", [lambda: image_tower("resnet"), lambda: text_tower("end")])
def test_openvino_reads_it_back(tower: Callable[[], Graph]):
    graph = tower()
    inputs = tokens(3, 7) if graph.input(0).get_any_name() == "tokens" else images(3)
    again = openvino.Core().read_model(written(graph), b"")
    assert np.abs(run(again, inputs) - run(graph, inputs)).max() < TOLERANCE


def test_a_graph_is_always_the_same_bytes():
    assert written(text_tower("affine")) == written(text_tower("affine"))


def test_weights_are_where_runtimes_look_for_them():
    graph = to_onnx(image_tower("class token")).graph
    counts = Counter(node.op_type for node in graph)
    assert counts["LayerNormalization"] == 7  # before, after, two a block, and the last one's query
    # Four linear layers a block, five in the last, two products of attention, a projection.
    assert counts["MatMul"] == 4 + 5 + 2 * 2 + 1
    weights = [node.inputs[1].is_initializer() for node in graph if node.op_type == "MatMul"]
    assert sum(weights) == 4 + 5 + 1
    assert counts["Transpose"] == 2 * (4 + 1) + 1  # of activations alone


def graph_of(build: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any = np.float32) -> Graph:
    """A graph of one parameter."""
    x = ops.parameter([-1, *shape], dtype, name="x")
    x.output(0).get_tensor().set_names({"x"})
    output = build(x)
    output = output if hasattr(output, "get_index") else output.output(0)
    output.get_tensor().set_names({"embeddings"})
    return openvino.Model([ops.result(output)], [x], "parts")


def ints(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))


HALF = ops.constant(np.float32(0.5))
PARTS: dict[str, Callable[[Any], Any]] = {
    "arithmetic": lambda x: ops.multiply(ops.subtract(x, HALF), ops.add(x, HALF)),
    "softmax": lambda x: ops.softmax(x, 1),
    "a mean without its axis": lambda x: ops.unsqueeze(ops.reduce_mean(x, ints(1), False), ints(1)),
    "a norm without weights": lambda x: ops.mvn(x, ints(2), True, 1e-5, "inside_sqrt"),
    "a norm, scaled": lambda x: ops.multiply(ops.mvn(x, ints(-1), True, 1e-2, "inside_sqrt"), HALF),
    "swish without a factor": ops.swish,
    "products of transposed activations": lambda x: ops.matmul(x, x, True, False),
    "a product of both transposed": lambda x: ops.matmul(x, x, False, True),
    "a split whose last part is used": lambda x: ops.split(x, ops.constant(np.int64(2)), 2).output(
        1
    ),
    "a sum of the same": lambda x: ops.add(x, x),
    "a stretched axis": lambda x: ops.broadcast(
        ops.unsqueeze(x, ints(1)), ops.concat([ints(3, 2), ints(4, 6)], 0)
    ),
    "no length": lambda x: ops.normalize_l2(
        ops.multiply(x, ops.constant(np.float32(0))), ints(2), 1e-24, "max"
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts(name: str):
    graph = graph_of(PARTS[name], (4, 6))
    inputs = np.random.default_rng(0).uniform(0, 1, (3, 4, 6)).astype(np.float32)
    got, expected = session(written(graph))(inputs), run(graph, inputs)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < TOLERANCE


@pytest.mark.parametrize("without_padding", [True, False])
def test_pooling_at_the_border(without_padding: bool):
    graph = graph_of(
        lambda x: ops.avg_pool(x, [2, 2], [1, 0], [1, 0], [3, 3], without_padding), (2, 5, 6)
    )
    inputs = np.random.default_rng(0).uniform(0, 1, (3, 2, 5, 6)).astype(np.float32)
    assert np.abs(session(written(graph))(inputs) - run(graph, inputs)).max() < TOLERANCE


UNKNOWN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another operation": (ops.tan, "Tan has no translation"),
    "more than the largest": (
        lambda x: ops.topk(x, ops.constant(2), 1, "max", "value", "i64", stable=True).output(1),
        "TopK takes 2 values, expected 1",
    ),
    "the largest itself": (
        lambda x: ops.topk(x, ops.constant(1), 1, "max", "value", "i64").output(0),
        "TopK has no output 0",
    ),
    "the smallest": (
        lambda x: ops.topk(x, ops.constant(1), 1, "min", "value", "i64").output(1),
        "TopK has mode min, expected max",
    ),
    "a norm over two axes": (
        lambda x: ops.mvn(x, ints(1, 2), True, 1e-5, "inside_sqrt"),
        "MVN has axes other than the last",
    ),
    "an order that is computed": (
        lambda x: ops.transpose(x, ops.convert(ops.multiply(ints(0, 1, 2), ints(1)), "i64")),
        "Transpose computes its input 1",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_written_is_named(name: str):
    build, message = UNKNOWN[name]
    with pytest.raises(CheckpointError, match=f"ONNX: the operation {message}$"):
        to_onnx(graph_of(build, (4, 6)))
