#!/usr/bin/env bash
# onnxruntime 1.32.0 and onnx 1.23.2, Python 3.11, on a processor (x86-64)
#
# Expected: what a quantised layer answers to a vector does not depend on the other rows of the batch.
# Happens: dynamic int8 takes one scale for the whole input, so that a neighbour 100 times as long
# leaves only a few of the 256 levels to a vector, and its answer turns away from the true one.
#
# Seen (cosine with the answer in float32, alone and beside the long neighbour):
#   alone: above 0.999
#   beside it: below 0.95
# (0.99996 and 0.91978 on the machine where it was seen.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

venv/bin/python - <<'PYTHON' | tee answer.txt
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.WARNING)
rng = np.random.default_rng(0)
weight = rng.normal(size=(64, 16)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "weight"], ["y"])],
    "layer",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 16])],
    [numpy_helper.from_array(weight, "weight")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.save(model, "layer.onnx")
quantize_dynamic("layer.onnx", "int8.onnx")
session = onnxruntime.InferenceSession("int8.onnx", providers=["CPUExecutionProvider"])


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


vector = rng.normal(size=(1, 64)).astype(np.float32)
neighbour = 100 * rng.normal(size=(1, 64)).astype(np.float32)
truth = (vector @ weight)[0]
alone = cosine(session.run(None, {"x": vector})[0][0], truth)
beside = cosine(session.run(None, {"x": np.concatenate([vector, neighbour])})[0][0], truth)
print(f"{alone:.5f} {beside:.5f}", file=sys.stderr)
print(f"alone: {'above 0.999' if alone > 0.999 else 'not above 0.999'}")
print(f"beside it: {'below 0.95' if beside < 0.95 else 'not below 0.95'}")
PYTHON

diff answer.txt - <<'SEEN'
alone: above 0.999
beside it: below 0.95
SEEN
