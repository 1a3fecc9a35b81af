"""Weights as torch's tensors and as NumPy's arrays, in the same memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from twinlens.checkpoints.formats.storage.arrays import DTYPES, Array

_BITS = {1: (np.uint8, torch.uint8), 2: (np.int16, torch.int16)}
"""Whole numbers of as many bytes, by which bfloat16 and float8 cross over."""


def to_tensor(array: Array) -> Tensor:
    """An array as a tensor that shares its memory."""
    name = array.dtype.name
    if array.dtype.kind == "V" or name.startswith("float8"):
        return torch.from_numpy(array.view(_BITS[array.itemsize][0])).view(getattr(torch, name))
    return torch.from_numpy(array)


def to_array(tensor: Tensor) -> Array:
    """A tensor as an array, which shares its memory if it is on the processor."""
    tensor = tensor.detach().cpu()
    name = str(tensor.dtype).removeprefix("torch.")
    if name == "bfloat16" or name.startswith("float8"):
        return tensor.view(_BITS[tensor.itemsize][1]).numpy().view(DTYPES[name])
    return tensor.numpy()


def to_arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Tensors by name as arrays: see `to_array`."""
    return {name: to_array(tensor) for name, tensor in tensors.items()}
