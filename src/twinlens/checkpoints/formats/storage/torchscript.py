"""TorchScript archives read as data: OpenAI published CLIP's weights in them.

An archive is a zip of `data.pkl` (the module and its attributes), `data/0`, `data/1`, ... (the
numbers), `constants.pkl` and `code/`. torch.jit.load compiles the files in `code/`; here only the
first two are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from twinlens.checkpoints.formats.storage.arrays import Array, DType, array_at
from twinlens.checkpoints.formats.storage.safe_pickle import (
    PickledModule,
    PickledTensor,
    read_pickle,
)
from twinlens.checkpoints.formats.storage.zip_archive import UncompressedZip, check_total_bytes
from twinlens.errors import CheckpointError

MAX_PICKLE_BYTES = 4 * 2**20
"""Largest pickle that describes tensors, in bytes; 2000 of them need 0.3 million."""

_MAX_ATTRIBUTES = 100_000
_MAX_NAME_LENGTH = 500
"""A module may contain itself: then there is no last attribute and no longest name."""


Place = Callable[[str], tuple[int, int]]
"""Gives the offset and the size of a storage in a file, in bytes, by its key."""

ReadArray = Callable[[int, DType, Sequence[int], Sequence[int]], Array]
"""Gives an array by its offset in a file, its type, shape and strides: see `array_at`."""


def read_torchscript(
    path: Path, archive: UncompressedZip, root: str
) -> dict[str, Callable[[], Array]]:
    """The parameters and buffers of an archive's module, each read when its reader is called.

    A whole number that the outermost module holds (`context_length`, say) is given as an array.

    Args:
        path: The file's, for errors.
        archive: The file.
        root: The directory inside it that holds all members.

    Raises:
        CheckpointError: It is damaged, or asks for anything but tensors and modules.
    """
    require_little_endian(path, archive, root)
    try:
        module = read_pickle(archive.read(f"{root}/data.pkl", max_bytes=MAX_PICKLE_BYTES))
        found = _collect_tensors(module)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: data.pkl: {error}") from error
    read, place = partial(array_at, archive.mapped), storage_place(archive, root)
    readers: dict[str, Callable[[], Array]] = {}
    for name, value in found.items():
        if isinstance(value, PickledTensor):
            readers[name] = strided_reader(f"{path}: {name}", value, read, place)
        else:
            readers[name] = partial(np.array, value, np.int64)
    require_bytes(path, [value for value in found.values() if isinstance(value, PickledTensor)])
    return readers


def require_little_endian(path: Path, archive: UncompressedZip, root: str) -> None:
    """Refuse numbers of another byte order.

    Raises:
        CheckpointError: The archive has them.
    """
    order = f"{root}/byteorder"
    if order in archive.names and archive.read(order, max_bytes=16) != b"little":
        raise CheckpointError(f"{path}: got numbers of another byte order, expected little-endian")


def storage_place(archive: UncompressedZip, root: str) -> Place:
    """Finds storages in the `data` directory of an archive."""
    return lambda key: archive.locate(f"{root}/data/{key}")


def require_bytes(path: Path, tensors: Iterable[PickledTensor]) -> None:
    """Refuse tensors that are many times the file's bytes: see `check_total_bytes`."""
    check_total_bytes(
        path, sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors)
    )


def _collect_tensors(module: object) -> dict[str, PickledTensor | int]:
    """Tensors of a module and its submodules, and the outermost's whole numbers, by full name."""
    if not isinstance(module, PickledModule):
        raise TypeError(f"got {type(module).__name__}, expected a module")
    found: dict[str, PickledTensor | int] = {}
    seen = 0
    modules = [("", module)]
    for prefix, one in modules:  # grows while it is walked
        seen += len(one.attributes)
        if seen > _MAX_ATTRIBUTES:
            raise ValueError(f"got more than {_MAX_ATTRIBUTES} attributes, expected a model's")
        for key, value in one.attributes.items():
            name = prefix + key
            if "." in key or len(name) > _MAX_NAME_LENGTH or not name.isprintable():
                raise ValueError(f"got the name {name[:50]!r}, expected a short one without dots")
            if isinstance(value, PickledModule):
                modules.append((f"{name}.", value))
            elif isinstance(value, PickledTensor) or (not prefix and type(value) is int):
                found[name] = value
    return found


def strided_reader(
    what: str, tensor: PickledTensor, read: ReadArray, place: Place
) -> Callable[[], Array]:
    """A function that gives a tensor as an array.

    Args:
        what: The file and the tensor's name, for errors.
        tensor: Its description.
        read: Gives arrays of the file.
        place: Finds storages in it.

    Raises:
        CheckpointError: The tensor is not within its storage, or its storage not in the file.
    """
    storage, offset, size, stride = tensor
    begin, length = place(storage.key)
    if length != storage.length * storage.dtype.itemsize:
        raise CheckpointError(
            f"{what}: got {length} bytes in data/{storage.key}, expected "
            f"{storage.length} numbers of {storage.dtype.itemsize}"
        )
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    elements = math.prod(size)
    if elements and (last >= storage.length or elements > storage.length):
        raise CheckpointError(
            f"{what}: got shape {list(size)}, strides {list(stride)} and offset {offset}, "
            f"expected them within {storage.length} numbers"
        )
    begin += offset * storage.dtype.itemsize
    return partial(read, begin, storage.dtype, size, stride)
