"""Files of weights, each as a mapping from the names in it to arrays.

The kind of a file is recognised by its content, never by its name. Arrays stay in the file, mapped
into memory, until they are used. Nothing in a file is run: pickles and TorchScript archives are
read as data.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from safetensors import safe_open

from twinlens.checkpoints.formats.storage.arrays import (
    DTYPES,
    Array,
    array_at,
    map_file,
)
from twinlens.checkpoints.formats.storage.torch_save import read_legacy, read_torch_save
from twinlens.checkpoints.formats.storage.torchscript import read_torchscript
from twinlens.checkpoints.formats.storage.zip_archive import UncompressedZip
from twinlens.errors import CheckpointError

_ZIP_MAGIC = b"PK\3\4"
_LEGACY_PICKLE_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""First bytes of files of torch.save before torch 1.6, which are no zips."""

_GIT_LFS_MAGIC = b"version https://git-lfs"

_MAX_INDEX_BYTES = 100 * 2**20
"""Bytes of an index; safetensors has the same limit for its header."""

_MAX_MAPPED_BYTES = 64 * 2**20
"""Bytes of a safetensors file that may be in memory at a time while all of it is checked."""

_SAFETENSORS_TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}

_NUMPY_DTYPES = {
    DTYPES[name].str: DTYPES[name]
    for name in (
        *("bool", "int8", "uint8", "int16", "int32", "int64"),
        *("float16", "float32", "float64"),
    )
} | {"|V2": DTYPES["bfloat16"]}  # NumPy has no such type; JAX's programs write and read it so


class LazyTensors(Mapping[str, Array]):
    """Tensors by name, each made by a function when it is used."""

    def __init__(self, readers: Mapping[str, Callable[[], Array]]) -> None:
        self._readers = readers

    def __getitem__(self, name: str) -> Array:
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._readers  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


class FileTensors(LazyTensors):
    """The tensors of a file by name, read lazily; errors name the file and the tensor."""

    def __init__(self, path: Path, readers: Mapping[str, Callable[[], Array]]) -> None:
        super().__init__(readers)
        self._path = path

    def __getitem__(self, name: str) -> Array:
        try:
            return super().__getitem__(name)
        except (ValueError, TypeError, ArithmeticError, OSError) as error:
            raise CheckpointError(f"{self._path}: {name}: {_error_line(error)}") from error


class SafetensorsTensors(FileTensors):
    """A safetensors file. The library checks the header: its length, types, offsets, no overlap."""

    def __init__(self, path: Path) -> None:
        file: Any = safe_open(path, framework="np")
        with path.open("rb") as raw:
            size = int.from_bytes(raw.read(8), "little")
            header = json.loads(raw.read(size), object_pairs_hook=_unique_keys)
        mapped = map_file(path)
        super().__init__(
            path,
            {name: partial(_safetensor, mapped, 8 + size, header[name]) for name in file.keys()},  # noqa: SIM118
        )

    def stream(self, names: Iterable[str]) -> Iterator[tuple[str, Array]]:
        """Each tensor once: see `stream_tensors`."""
        file, mapped = SafetensorsTensors(self._path), 0
        for name in names:
            if mapped > _MAX_MAPPED_BYTES:
                file, mapped = SafetensorsTensors(self._path), 0
            tensor = file[name]
            mapped += tensor.nbytes
            yield name, tensor


def _safetensor(mapped: mmap.mmap, begin: int, entry: Mapping[str, Any]) -> Array:
    """The array of a header's entry; offsets are counted from the end of the header.

    Raises:
        ValueError: NumPy has no such type.
    """
    dtype = entry["dtype"]
    if dtype not in _SAFETENSORS_TYPES:
        raise ValueError(f"got the type {dtype}, expected one of {', '.join(_SAFETENSORS_TYPES)}")
    begin += entry["data_offsets"][0]
    return array_at(mapped, begin, DTYPES[_SAFETENSORS_TYPES[dtype]], entry["shape"])


class RenamedTensors(LazyTensors):
    """Some of a file's tensors by other names.

    Args:
        tensors: The file's.
        names: The name that each has here, and the one there.
    """

    def __init__(self, tensors: Mapping[str, Array], names: Mapping[str, str]) -> None:
        super().__init__({name: partial(tensors.__getitem__, names[name]) for name in names})
        self._tensors = tensors
        self._names = names

    def stream(self, names: Iterable[str]) -> Iterator[tuple[str, Array]]:
        """Each tensor once: see `stream_tensors`."""
        names = list(names)
        found = stream_tensors(self._tensors, [self._names[name] for name in names])
        for name, (_, tensor) in zip(names, found, strict=True):
            yield name, tensor


def stream_tensors(
    tensors: Mapping[str, Array], names: Iterable[str]
) -> Iterator[tuple[str, Array]]:
    """Iterate over tensors that are used once and not stored.

    Little of a safetensors file is in memory at a time: its mapping is renewed on the way, because
    pages that were read through a mapping stay in memory as long as it does.
    """
    if isinstance(tensors, SafetensorsTensors | RenamedTensors):
        yield from tensors.stream(names)
    else:
        yield from ((name, tensors[name]) for name in names)


def open_tensors(path: Path) -> Mapping[str, Array]:
    """The tensors of one file by the names they have in it.

    A training checkpoint gives the weights in it, wherever they are: see `find_state_dicts`.

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
        tensors = _detect_reader(path)(path)
    except CheckpointError:
        raise
    except Exception as error:  # a file made for it can break a reader in any way
        raise CheckpointError(f"{path}: cannot be read: {_error_line(error)}") from error
    if not tensors:
        raise CheckpointError(f"{path}: got no tensors, expected weights")
    for name in tensors:
        if not name.isprintable():  # a terminal would obey control characters
            raise CheckpointError(f"{path}: got the name {name[:100]!r}, expected a printable one")
    return tensors


def open_sharded(index: Path) -> Mapping[str, Array]:
    """The tensors of several files, as Hugging Face's `*.index.json` lists them.

    Args:
        index: Its `weight_map` gives the file, in the same directory, of each name.

    Raises:
        CheckpointError: The index is damaged, names a file outside of its directory, or does not
            agree with the files; or one of them is damaged.
    """
    index = Path(index)
    places = _read_weight_map(index)
    shards: dict[str, Mapping[str, Array]] = {}
    for file in sorted(set(places.values())):
        shards[file] = open_tensors(index.parent / file)
        astray = [name for name in shards[file] if places.get(name) != file]
        if astray:
            raise CheckpointError(
                f"{index.parent / file}: got {_format_some(astray)}, "
                f"expected what {index.name} says"
            )
    missing = [name for name, file in places.items() if name not in shards[file]]
    if missing:
        raise CheckpointError(
            f"{index}: got no {_format_some(missing)}, expected in the files it names"
        )
    return FileTensors(
        index, {name: partial(shards[file].__getitem__, name) for name, file in places.items()}
    )


def _detect_reader(path: Path) -> Callable[[Path], Mapping[str, Array]]:
    """Choose the reader of a file by its first bytes."""
    with path.open("rb") as file:
        begin = file.read(32)
    if begin.startswith(_ZIP_MAGIC):
        return _open_zip
    if begin[8:9] == b"{":  # after the header's length comes JSON
        return SafetensorsTensors
    if begin.startswith(_LEGACY_PICKLE_MAGIC):
        return lambda path: FileTensors(path, read_legacy(path))
    got = "another kind of file"
    if not begin:
        got = "an empty file"
    elif begin.startswith(_GIT_LFS_MAGIC):
        got = "a pointer of Git LFS (run  git lfs pull)"
    elif begin.startswith(b"\x80"):
        got = "a pickle that torch.save did not write"
    raise CheckpointError(
        f"{path}: got {got}, expected safetensors, a PyTorch or TorchScript file, or npz"
    )


def _open_zip(path: Path) -> Mapping[str, Array]:
    """Open a zip, whose kind is recognised by its members."""
    archive = UncompressedZip(path)
    root = next(iter(archive.names), "").split("/")[0]
    if {f"{root}/data.pkl", f"{root}/constants.pkl"} <= set(archive.names):
        return FileTensors(path, read_torchscript(path, archive, root))
    if f"{root}/data.pkl" in archive.names:
        return FileTensors(path, read_torch_save(path, archive, root))
    if all(name.endswith(".npy") for name in archive.names):
        return FileTensors(path, {name[:-4]: _npy_reader(archive, name) for name in archive.names})
    raise CheckpointError(f"{path}: got a zip of other things, expected weights")


def _npy_reader(archive: UncompressedZip, name: str) -> Callable[[], Array]:
    """A reader of one array of an `.npz`, whose header is checked now.

    Raises:
        CheckpointError: It is damaged, or its type is not numeric.
    """
    what = f"{archive.path}: {name[:100]!r}"
    stream = io.BytesIO(archive.read_prefix(name, 2**16))
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise CheckpointError(f"{what}: got version {version} of npy, expected 1.0 or 2.0")
    if dtype.str not in _NUMPY_DTYPES:
        raise CheckpointError(
            f"{what}: got the type {dtype.str}, expected one of {', '.join(_NUMPY_DTYPES)}"
        )
    skip, size = stream.tell(), archive.locate(name)[1]
    if size - skip != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"{what}: got {size - skip} bytes, expected shape {list(shape)}")

    def read() -> Array:
        kind = _NUMPY_DTYPES[dtype.str]
        if fortran:  # the first axis is the fastest
            return archive.array(name, kind, shape[::-1], skip=skip).transpose()
        return archive.array(name, kind, shape, skip=skip)

    return read


def _read_weight_map(index: Path) -> dict[str, str]:
    """Read the `weight_map` of an index, whose files must be in its directory.

    Raises:
        CheckpointError: It cannot be read, or names a file elsewhere.
    """
    try:
        if index.stat().st_size > _MAX_INDEX_BYTES:
            raise ValueError(f"more than {_MAX_INDEX_BYTES} bytes")
        content = json.loads(index.read_bytes(), object_pairs_hook=_unique_keys)
        places = dict(content["weight_map"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{index}: cannot be read as an index: {_error_line(error)}"
        ) from error
    for name, file in places.items():
        if not isinstance(file, str) or not _is_file_name(file):
            raise CheckpointError(
                f"{index}: got {file!r} for {name[:100]!r}, expected the name of a file beside it"
            )
    if not places:
        raise CheckpointError(f"{index}: got no names, expected a weight_map")
    return places


def _is_file_name(name: str) -> bool:
    """True if it is a file name on every system, without a directory."""
    kinds = (PurePosixPath, PureWindowsPath)
    return name not in ("", ".", "..") and all(kind(name).name == name for kind in kinds)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of a JSON object.

    Raises:
        ValueError: A key occurs twice.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"got {name[:50]!r} twice, expected unlike names")
        found[name] = value
    return found


def _format_some(names: list[str]) -> str:
    """The first of a list that may be long."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _error_line(error: Exception) -> str:
    """A message without line ends or other controls; the whole is the error's cause."""
    line = " ".join(str(error).split())[:300]
    return "".join(c if c.isprintable() else "?" for c in line) or type(error).__name__
