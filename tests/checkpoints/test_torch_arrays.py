"""Tensors and arrays of every type in the same memory."""

import numpy as np
import pytest
import torch

from twinlens.checkpoints.formats.storage.arrays import DTYPES
from twinlens.checkpoints.torch_arrays import to_array, to_tensor


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("turned", [False, True])
def test_a_tensor_shares_the_memory_of_its_array(name: str, turned: bool):
    array = np.arange(6).reshape(2, 3).astype(DTYPES[name])
    array = array.T if turned else array
    tensor = to_tensor(array)
    assert str(tensor.dtype) == f"torch.{name}"
    assert tensor.shape == array.shape
    assert tensor.data_ptr() == array.ctypes.data
    again = to_array(tensor)
    assert again.dtype == array.dtype
    assert np.shares_memory(again, array)
    assert again.tobytes() == array.tobytes()


def test_values_are_the_same_on_both_sides():
    values = [0.5, -2.0, 1.0]
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        tensor = torch.tensor(values).to(getattr(torch, name))
        assert to_array(tensor).astype(np.float32).tolist() == values
        assert to_tensor(np.array(values, DTYPES[name])).float().tolist() == values


def test_a_parameter_and_a_number():
    assert to_array(torch.nn.Parameter(torch.ones(2))).tolist() == [1.0, 1.0]
    assert to_tensor(np.array(2.5, DTYPES["bfloat16"])).item() == 2.5
