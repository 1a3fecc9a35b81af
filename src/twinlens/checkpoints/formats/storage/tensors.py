"""Files of weights: each as a mapping from the names in it to tensors.

What a file is, is told by its content and never by its name. Tensors stay in the file, mapped into
memory, until they are asked for. Nothing in a file is run: pickles are read by torch's
`weights_only` alone, and TorchScript archives as data.
"""

from __future__ import annotations

import io
import json
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from twinlens.checkpoints.formats.storage.torch_save import open_pickle
from twinlens.checkpoints.formats.storage.torchscript import PICKLE_LIMIT, read_torchscript
from twinlens.checkpoints.formats.storage.zip_archive import StoredZip
from twinlens.errors import CheckpointError

_ZIP = b"PK\3\4"
_OLD_PICKLE = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""What torch.save wrote first before torch 1.6, when its files were no zips yet."""

_GIT_LFS = b"version https://git-lfs"

_INDEX_LIMIT = 100 * 2**20
"""Bytes of an index; safetensors has the same limit for its header."""

_MAPPED_AT_ONCE = 64 * 2**20
"""Bytes that a look through a safetensors file leaves in memory, and one tensor more."""

_NUMPY_TYPES = {
    "|b1": torch.bool,
    "|i1": torch.int8,
    "|u1": torch.uint8,
    "<i2": torch.int16,
    "<i4": torch.int32,
    "<i8": torch.int64,
    "<f2": torch.float16,
    "<f4": torch.float32,
    "<f8": torch.float64,
    "|V2": torch.bfloat16,  # numpy has no such type; JAX's programs write and read it so
}


class Tensors(Mapping[str, Tensor]):
    """The tensors of a file by name, each read when it is asked for."""

    def __init__(self, path: Path, readers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._path = path
        self._readers = readers

    def __getitem__(self, name: str) -> Tensor:
        read = self._readers[name]
        try:
            return read()
        except (SafetensorError, RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(f"{self._path}: {name}: {_one_line(error)}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._readers  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class SafetensorsFile(Tensors):
    """A safetensors file. The library checks the header: its length, types, offsets, no overlap."""

    def __init__(self, path: Path) -> None:
        file: Any = safe_open(path, framework="pt", device="cpu")
        with path.open("rb") as raw:
            header = raw.read(int.from_bytes(raw.read(8), "little"))
        json.loads(header, object_pairs_hook=_unlike)
        super().__init__(path, {name: partial(file.get_tensor, name) for name in file.keys()})  # noqa: SIM118

    def passing(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Each tensor once: see `passing`."""
        file, mapped = SafetensorsFile(self._path), 0
        for name in names:
            if mapped > _MAPPED_AT_ONCE:
                file, mapped = SafetensorsFile(self._path), 0
            tensor = file[name]
            mapped += tensor.nbytes
            yield name, tensor


class Renamed(Mapping[str, Tensor]):
    """Some of a file's tensors by other names.

    Args:
        tensors: The file's.
        names: The name that each has here, and the one there.
    """

    def __init__(self, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        self._tensors = tensors
        self._names = names

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def passing(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Each tensor once: see `passing`."""
        names = list(names)
        found = passing(self._tensors, [self._names[name] for name in names])
        for name, (_, tensor) in zip(names, found, strict=True):
            yield name, tensor


def passing(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Each of these tensors by name, to be looked at once and not kept.

    Of a safetensors file little is in memory at a time: a page that was looked at through the
    mapping that the weights stay in would stay too.
    """
    if isinstance(tensors, SafetensorsFile | Renamed):
        yield from tensors.passing(names)
    else:
        yield from ((name, tensors[name]) for name in names)


def open_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of one file by the names they have in it.

    A training checkpoint gives the weights in it, wherever they lie: see `model_tables`. Of other
    things it gives their `state_dict`, without the "module." that distributed training puts before
    every name.

    Args:
        path: A safetensors file, one of torch.save's, a TorchScript archive, or an `.npz`.

    Raises:
        CheckpointError: It is missing, damaged or of another kind, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        got = "something else" if path.exists() else "nothing"
        raise CheckpointError(f"{path}: got {got}, expected a file of weights")
    try:
        tensors = _reader(path)(path)
    except CheckpointError:
        raise
    except Exception as error:  # a file made for it can break a reader in any way
        raise CheckpointError(f"{path}: cannot be read: {_one_line(error)}") from error
    if not tensors:
        raise CheckpointError(f"{path}: got no tensors, expected weights")
    for name in tensors:
        if not name.isprintable():  # it shall be no more than a name where it is shown
            raise CheckpointError(f"{path}: got the name {name[:100]!r}, expected a printable one")
    return tensors


def open_sharded(index: Path) -> Mapping[str, Tensor]:
    """The tensors of several files, as Hugging Face's `*.index.json` lists them.

    Args:
        index: Its `weight_map` says in which file beside it each name is.

    Raises:
        CheckpointError: The index is damaged, names a file outside of its directory, or does not
            agree with the files; or one of them is damaged.
    """
    index = Path(index)
    places = _read_index(index)
    shards: dict[str, Mapping[str, Tensor]] = {}
    for file in sorted(set(places.values())):
        shards[file] = open_tensors(index.parent / file)
        astray = [name for name in shards[file] if places.get(name) != file]
        if astray:
            raise CheckpointError(
                f"{index.parent / file}: got {_some(astray)}, expected what {index.name} says"
            )
    missing = [name for name, file in places.items() if name not in shards[file]]
    if missing:
        raise CheckpointError(f"{index}: got no {_some(missing)}, expected in the files it names")
    return Tensors(
        index, {name: partial(shards[file].__getitem__, name) for name, file in places.items()}
    )


def _reader(path: Path) -> Callable[[Path], Mapping[str, Tensor]]:
    """Which reader knows a file, by its first bytes."""
    with path.open("rb") as file:
        begin = file.read(32)
    if begin.startswith(_ZIP):
        return _open_zip
    if begin[8:9] == b"{":  # after the header's length comes JSON
        return SafetensorsFile
    if begin.startswith(_OLD_PICKLE):
        return partial(open_pickle, mapped=False)
    got = "another kind of file"
    if not begin:
        got = "an empty file"
    elif begin.startswith(_GIT_LFS):
        got = "a pointer of Git LFS (run  git lfs pull)"
    elif begin.startswith(b"\x80"):
        got = "a pickle that torch.save did not write"
    raise CheckpointError(
        f"{path}: got {got}, expected safetensors, a PyTorch or TorchScript file, or npz"
    )


def _open_zip(path: Path) -> Mapping[str, Tensor]:
    """What kind of zip it is, is told by its members."""
    archive = StoredZip(path)
    root = next(iter(archive.names), "").split("/")[0]
    if {f"{root}/data.pkl", f"{root}/constants.pkl"} <= set(archive.names):
        return Tensors(path, read_torchscript(path, archive, root))
    if f"{root}/data.pkl" in archive.names:
        for name in archive.names:
            archive.place(name)  # none is compressed: torch would take the bytes as they are
        archive.read(f"{root}/data.pkl", limit=PICKLE_LIMIT)
        # torch goes by the ending .safetensors, and maps files that it opens itself only.
        return open_pickle(path, archive, root, mapped=not path.name.endswith(".safetensors"))
    if all(name.endswith(".npy") for name in archive.names):
        return Tensors(path, {name[:-4]: _npy(archive, name) for name in archive.names})
    raise CheckpointError(f"{path}: got a zip of other things, expected weights")


def _npy(archive: StoredZip, name: str) -> Callable[[], Tensor]:
    """A reader of one array of an `.npz`, whose header is checked now.

    Raises:
        CheckpointError: It is damaged, or of a type that is no number's.
    """
    what = f"{archive.path}: {name[:100]!r}"
    stream = io.BytesIO(archive.head(name, 2**16))
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise CheckpointError(f"{what}: got version {version} of npy, expected 1.0 or 2.0")
    if dtype.str not in _NUMPY_TYPES:
        raise CheckpointError(
            f"{what}: got the type {dtype.str}, expected one of {', '.join(_NUMPY_TYPES)}"
        )
    skip, size = stream.tell(), archive.place(name)[1]
    if size - skip != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"{what}: got {size - skip} bytes, expected shape {list(shape)}")

    def read() -> Tensor:
        values = archive.tensor(name, _NUMPY_TYPES[dtype.str], skip=skip)
        if fortran:  # the first axis is the fastest
            return values.view(shape[::-1]).permute(*reversed(range(len(shape))))
        return values.view(shape)

    return read


def _read_index(index: Path) -> dict[str, str]:
    """The `weight_map` of an index, whose files are names beside it.

    Raises:
        CheckpointError: It is not so.
    """
    try:
        if index.stat().st_size > _INDEX_LIMIT:
            raise ValueError(f"more than {_INDEX_LIMIT} bytes")
        content = json.loads(index.read_bytes(), object_pairs_hook=_unlike)
        places = dict(content["weight_map"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{index}: cannot be read as an index: {_one_line(error)}") from error
    for name, file in places.items():
        if not isinstance(file, str) or not _is_file_name(file):
            raise CheckpointError(
                f"{index}: got {file!r} for {name[:100]!r}, expected the name of a file beside it"
            )
    if not places:
        raise CheckpointError(f"{index}: got no names, expected a weight_map")
    return places


def _is_file_name(name: str) -> bool:
    """Whether it is one on every system, and leads nowhere else."""
    kinds = (PurePosixPath, PureWindowsPath)
    return name not in ("", ".", "..") and all(kind(name).name == name for kind in kinds)


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it says something twice.

    Raises:
        ValueError: It does.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"got {name[:50]!r} twice, expected unlike names")
        found[name] = value
    return found


def _some(names: list[str]) -> str:
    """The first of a list that may be long."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _one_line(error: Exception) -> str:
    """A message without line ends or other controls; the whole is the error's cause."""
    line = " ".join(str(error).split())[:300]
    return "".join(c if c.isprintable() else "?" for c in line) or type(error).__name__
