#!/usr/bin/env bash
# openvino 2026.4.1, Python 3.11
#
# Expected: `normalize_l2(data, axes, eps, "max")` of OpenVINO's Python operations divides by the root of
# the larger of the squares' sum and eps, as the last step of an image-text embedding is defined in
# torch and ONNX exports.
# Happens: the argument is not passed on under the attribute's name, and the node adds eps instead: its
# `eps_mode` is "add" whichever is asked for, without an error. With an eps that is not tiny the vectors
# are too short.
#
# Seen:
#   asked add: eps_mode add, [3, 4] over 25 becomes length 0.707
#   asked max: eps_mode add, [3, 4] over 25 becomes length 0.707
#   by hand:   length 1.000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6

venv/bin/python - <<'PYTHON' | tee answer.txt
import numpy as np
import openvino
from openvino import opset15 as ops

EPS = 25.0  # as large as the squares' sum, so that the two modes differ
vector = np.array([[3.0, 4.0]], np.float32)
for mode in ("add", "max"):
    data = ops.parameter([1, 2], np.float32)
    node = ops.normalize_l2(data, ops.constant(np.array([1])), EPS, mode)
    model = openvino.compile_model(openvino.Model([ops.result(node)], [data]), "CPU")
    length = np.linalg.norm(model([vector])[0])
    got = node.get_attributes()["eps_mode"]
    print(f"asked {mode}: eps_mode {got}, [3, 4] over 25 becomes length {length:.3f}")
print(f"by hand:   length {np.linalg.norm(vector / np.sqrt(max((vector**2).sum(), EPS))):.3f}")
PYTHON

diff answer.txt - <<'SEEN'
asked add: eps_mode add, [3, 4] over 25 becomes length 0.707
asked max: eps_mode add, [3, 4] over 25 becomes length 0.707
by hand:   length 1.000
SEEN
