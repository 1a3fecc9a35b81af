"""Torchvision imported without its compiled half, for the libraries that we compare with.

PyPI has torchvision for CUDA builds of torch only. With any other build its Python stops at the
import, because it describes operators that were never declared. `declare` declares them. They
still cannot be computed: nobody here does. What is there, such as its transforms, is Python.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

import torch

_OPERATORS = (
    "nms(Tensor boxes, Tensor scores, float threshold) -> Tensor",
    "qnms(Tensor boxes, Tensor scores, float threshold) -> Tensor",
    "roi_align(Tensor x) -> Tensor",
    "_roi_align_backward(Tensor x) -> Tensor",
    "qroi_align(Tensor x) -> Tensor",
    "roi_pool(Tensor x) -> Tensor",
    "_roi_pool_backward(Tensor x) -> Tensor",
    "ps_roi_align(Tensor x) -> Tensor",
    "_ps_roi_align_backward(Tensor x) -> Tensor",
    "ps_roi_pool(Tensor x) -> Tensor",
    "_ps_roi_pool_backward(Tensor x) -> Tensor",
    "deform_conv2d(Tensor x) -> Tensor",
    "_deform_conv2d_backward(Tensor x) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a library that is let go takes its operators along


def declare() -> None:
    """Make `import torchvision` work where its Python alone does; else without effect."""
    if _declared or find_spec("torchvision") is None or _is_imported():
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the import had come to
    library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        library.define(operator)
    _declared.append(library)


def _is_imported() -> bool:
    try:
        importlib.import_module("torchvision")
    except Exception:  # of its compiled half: built for another torch, or for a missing CUDA
        return False
    return True
