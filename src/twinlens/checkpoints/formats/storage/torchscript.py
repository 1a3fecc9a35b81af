"""TorchScript archives read as data: OpenAI published CLIP's weights in them.

An archive is a zip of `data.pkl` (the module and its attributes), `data/0`, `data/1`, ... (the
numbers), `constants.pkl` and `code/`. torch.jit.load compiles what lies in `code/`; here only the
first two are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from twinlens.checkpoints.formats.storage.safe_pickle import Module, Strided, read_pickle
from twinlens.checkpoints.formats.storage.zip_archive import StoredZip, require_proportion
from twinlens.errors import CheckpointError

PICKLE_LIMIT = 4 * 2**20
"""Bytes of a pickle that tells of tensors beside it; 2000 of them need 0.3 million."""

_ATTRIBUTES_LIMIT = 100_000
_NAME_LIMIT = 500
"""Modules may be in one another: then there is no last attribute and no longest name."""


def read_torchscript(path: Path, archive: StoredZip, root: str) -> dict[str, Callable[[], Tensor]]:
    """The parameters and buffers of an archive's module, each read from the file when called for.

    A whole number that the outermost module holds (`context_length`, say) is given as a tensor.

    Args:
        path: The file's, for errors.
        archive: The file.
        root: The directory inside it that holds all members.

    Raises:
        CheckpointError: It is damaged, or asks for anything but tensors and modules.
    """
    order = f"{root}/byteorder"
    if order in archive.names and archive.read(order, limit=16) != b"little":
        raise CheckpointError(f"{path}: got numbers of another byte order, expected little-endian")
    try:
        module = read_pickle(archive.read(f"{root}/data.pkl", limit=PICKLE_LIMIT))
        found = _attributes(module)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: data.pkl: {error}") from error
    tensors = {name: value for name, value in found.items() if isinstance(value, Strided)}
    for name, value in tensors.items():
        check_place(f"{path}: {name}", value, archive, root)
    total = sum(math.prod(value.size) * value.storage.dtype.itemsize for value in tensors.values())
    require_proportion(path, total)
    return {name: tensor_reader(value, archive, root) for name, value in found.items()}


def _attributes(module: object) -> dict[str, Strided | int]:
    """Tensors of a module and of those in it, and the outermost's whole numbers, by full name."""
    if not isinstance(module, Module):
        raise TypeError(f"got {type(module).__name__}, expected a module")
    found: dict[str, Strided | int] = {}
    seen = 0
    modules = [("", module)]
    for prefix, one in modules:  # grows while it is walked
        seen += len(one.attributes)
        if seen > _ATTRIBUTES_LIMIT:
            raise ValueError(f"got more than {_ATTRIBUTES_LIMIT} attributes, expected a model's")
        for key, value in one.attributes.items():
            name = prefix + key
            if "." in key or len(name) > _NAME_LIMIT or not name.isprintable():
                raise ValueError(f"got the name {name[:50]!r}, expected a short one without dots")
            if isinstance(value, Module):
                modules.append((f"{name}.", value))
            elif isinstance(value, Strided) or (not prefix and type(value) is int):
                found[name] = value
    return found


def check_place(what: str, value: Strided, archive: StoredZip, root: str) -> None:
    """Whether a tensor lies in its storage, and its storage in the file.

    Raises:
        CheckpointError: It does not.
    """
    storage, offset, size, stride = value
    _, length = archive.place(f"{root}/data/{storage.key}")
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


def tensor_reader(value: Strided | int, archive: StoredZip, root: str) -> Callable[[], Tensor]:
    """Reads a tensor from the file when it is called."""
    if isinstance(value, int):
        return lambda: torch.tensor(value)
    storage, offset, size, stride = value
    member = f"{root}/data/{storage.key}"
    return lambda: archive.tensor(member, storage.dtype).as_strided(size, stride, offset)
