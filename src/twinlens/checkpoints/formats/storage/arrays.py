"""Weights as NumPy arrays: their types, arrays over a mapped file, and writing them."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from twinlens.errors import CheckpointError
from twinlens.files import atomic_path

Array: TypeAlias = NDArray[Any]
DType: TypeAlias = np.dtype[Any]

_OTHER_FLOATS = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        *("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz"),
        *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    )
}
"""Floating-point types that NumPy has only through ml_dtypes; torch has them by the same names."""

DTYPES: Mapping[str, DType] = {
    name: np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
} | _OTHER_FLOATS
"""Types of weights by name; NumPy and torch use the same names."""


def is_float(dtype: DType) -> bool:
    """True for floating-point types of any size, bfloat16 and float8 among them."""
    return dtype.kind == "f" or dtype in _OTHER_FLOATS.values()


def map_file(path: Path) -> mmap.mmap:
    """Map a file into memory; writing to the mapping leaves the file as it is."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def release_pages(mapped: mmap.mmap) -> None:
    """Give back the memory of a mapping that was not written to.

    What is read of it again comes from the system's cache of the file, or from the file. Does
    nothing where pages are locked into memory.
    """
    if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        with suppress(OSError):
            mapped.madvise(mmap.MADV_DONTNEED)


def release_array(array: Array) -> None:
    """Give back the memory of the mapped file that an array is a part of, if it is one."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = cast("Any", base.base)
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap):
        release_pages(base)


def array_at(
    mapped: mmap.mmap,
    begin: int,
    dtype: DType,
    shape: Sequence[int],
    strides: Sequence[int] | None = None,
) -> Array:
    """An array over the bytes of a mapped file.

    It is a copy only where its numbers are not aligned in the file.

    Args:
        mapped: The file.
        begin: Offset in bytes of the first number.
        dtype: Of the numbers.
        shape: Of the array.
        strides: Steps along each axis, in numbers; row-major if not given.

    Raises:
        ValueError: The array does not fit into the file.
        TypeError: The same.
    """
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    array = np.ndarray(tuple(shape), dtype, mapped, begin, _in_bytes(strides, dtype))
    return array if array.flags.aligned else array.copy()


def read_array(
    path: Path, begin: int, dtype: DType, shape: Sequence[int], strides: Sequence[int]
) -> Array:
    """An array read from a file, where its numbers need not be aligned: see `array_at`."""
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    count = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    numbers = np.fromfile(path, np.uint8, count * dtype.itemsize, offset=begin)
    return np.ndarray(tuple(shape), dtype, numbers, 0, _in_bytes(strides, dtype))


def _in_bytes(strides: Sequence[int] | None, dtype: DType) -> list[int] | None:
    return None if strides is None else [step * dtype.itemsize for step in strides]


def write_arrays(
    arrays: Mapping[str, Array], path: Path, header: dict[str, str] | None = None
) -> None:
    """Write a safetensors file: all of it, flushed to the disk, or nothing.

    Args:
        arrays: By name, in any memory layout.
        path: The file; an existing one is replaced.
        header: Metadata of the file.

    Raises:
        CheckpointError: It cannot be written (a full disk, for example); an existing file stays.
    """
    try:
        with atomic_path(path) as partial:
            ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
            save_file(ordered, partial, header)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: could not be written: {error}") from error
