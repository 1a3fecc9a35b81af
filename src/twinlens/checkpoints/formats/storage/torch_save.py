"""Files of torch.save: pickles of tensors by name, and of what trainers save with them.

Nothing in them is run: objects, such as a trainer's settings, are skipped, and a file that asks for
the call of a function is refused.
"""

from __future__ import annotations

import io
import math
import mmap
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import cast

from twinlens.checkpoints.formats.storage.arrays import Array, array_at, map_file, read_array
from twinlens.checkpoints.formats.storage.safe_pickle import (
    OtherTensor,
    PickledModule,
    PickledStorage,
    PickledTensor,
    read_pickle,
    read_pickle_stream,
)
from twinlens.checkpoints.formats.storage.torchscript import (
    MAX_PICKLE_BYTES,
    Place,
    ReadArray,
    require_bytes,
    require_little_endian,
    storage_place,
    strided_reader,
)
from twinlens.checkpoints.formats.storage.zip_archive import UncompressedZip
from twinlens.checkpoints.formats.trainers import find_state_dicts
from twinlens.errors import CheckpointError

Readers = dict[str, Callable[[], Array]]

_LEGACY_VERSION = 1001


def read_torch_save(path: Path, archive: UncompressedZip, root: str) -> Readers:
    """The tensors of a file of torch.save, each read when its reader is called.

    Args:
        path: The file.
        archive: The same as a zip.
        root: The directory inside it that holds all members.

    Raises:
        CheckpointError: It asks for the call of a function, or holds no weights, or a tensor is
            not within the file.
    """
    require_little_endian(path, archive, root)
    content = archive.read(f"{root}/data.pkl", max_bytes=MAX_PICKLE_BYTES)
    try:
        loaded = read_pickle(content, allows_objects=True)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return _readers(path, loaded, partial(array_at, archive.mapped), storage_place(archive, root))


def read_legacy(path: Path) -> Readers:
    """The tensors of a file that torch.save wrote before torch 1.6: see `read_torch_save`.

    The file is five pickles (a magic number, a version, the machine's properties, the data and the
    keys of its storages), then of each storage the count of its numbers, and the numbers.
    """
    mapped = map_file(path)
    begin = 0
    values: list[object] = []
    storages: dict[str, PickledStorage] = {}
    try:
        for _ in range(5):
            stream = io.BytesIO(mapped[begin : begin + MAX_PICKLE_BYTES])
            value, found = read_pickle_stream(stream, objects=True)
            values.append(value)
            storages |= found
            begin += stream.tell()
        _, version, machine, loaded, keys = values
        if (
            version != _LEGACY_VERSION
            or not isinstance(machine, dict)
            or not isinstance(keys, list)
        ):
            raise ValueError(f"got another version than {_LEGACY_VERSION} of torch.save's files")
        if cast("dict[str, object]", machine).get("little_endian") is not True:
            raise ValueError("got numbers of another byte order, expected little-endian")
        places = _legacy_places(mapped, begin, cast("list[str]", keys), storages)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{path}: got no storage {str(error)[:100]}, expected one") from error
    readers = _readers(path, loaded, partial(read_array, path), places.__getitem__)
    return {name: cache(reader) for name, reader in readers.items()}  # arrays are copies


def _legacy_places(
    mapped: mmap.mmap, begin: int, keys: list[str], storages: Mapping[str, PickledStorage]
) -> dict[str, tuple[int, int]]:
    """The offset and the size of each storage in bytes, by key.

    Raises:
        ValueError: The file ends before them.
        KeyError: A key has no storage.
    """
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        count = int.from_bytes(mapped[begin : begin + 8], "little")
        size = count * storages[key].dtype.itemsize
        places[key] = begin + 8, size
        begin += 8 + size
        if begin > len(mapped):
            raise ValueError(f"got {len(mapped)} bytes, expected {begin} or more")
    return places


def _readers(path: Path, loaded: object, read: ReadArray, place: Place) -> Readers:
    """Readers of the tensors in a pickled value: see `find_state_dicts`.

    Raises:
        CheckpointError: There is anything else among them, or a tensor is not within the file.
    """
    entries = find_state_dicts(loaded, lambda value: isinstance(value, PickledTensor))
    if entries is None:
        raise _refusal(path, loaded, "a mapping from names to tensors", "")
    tensors: dict[str, PickledTensor] = {}
    for name, value in entries.items():
        if not (isinstance(name, str) and isinstance(value, PickledTensor) and _is_plain(value)):
            raise _refusal(path, value, "names of plain tensors", f" under {_shown(name)!r}")
        tensors[name] = value
    readers = {
        name: strided_reader(f"{path}: {name}", value, read, place)
        for name, value in tensors.items()
    }
    require_bytes(path, tensors.values())
    return readers


def _refusal(path: Path, value: object, expected: str, where: str) -> CheckpointError:
    if isinstance(value, PickledModule):
        return CheckpointError(
            f"{path}: got a request for {value.name[:100]!r}, expected a pickle of tensors alone"
        )
    is_tensor = isinstance(value, PickledTensor | OtherTensor)
    got = "Tensor" if is_tensor else type(value).__name__
    return CheckpointError(f"{path}: got {got}{where}, expected {expected}")


def _shown(name: object) -> str:
    return str(name)[:100] if isinstance(name, str | int | float) else "a key of another kind"


def _is_plain(tensor: PickledTensor) -> bool:
    """True if the tensor has no more elements than its storage has numbers."""
    return math.prod(tensor.shape) <= tensor.storage.length
