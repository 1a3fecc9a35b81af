"""Checksums of a model's directory: a CRC-32 of each tensor and of the other files.

They find damage (a flipped byte, a part of another file), not forgery. A tensor is checked when it
is read, so that a tower that is not loaded costs nothing. Weights that match their checksum were
finite when they were saved, and are not checked for that again.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np

from twinlens.checkpoints.finite import is_finite, require_finite
from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config_io import read_json_object, write_dataclass
from twinlens.errors import CheckpointError, ConfigError
from twinlens.hardware import usable_cpu_count

CHECKSUMS_FILE = "checksums.json"

_CHECKSUMMED_FILES = ("config.json", "tokenizer.json", "classifier.safetensors")
_METHOD = "crc32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksums:
    """Checksums of a model's files and tensors by name, in hexadecimal.

    Attributes:
        method: The algorithm of all checksums.
        files: Of the files other than the weights; over all their bytes.
        tensors: Over the type, the shape and the numbers as they are in the file.
    """

    method: str = _METHOD
    files: dict[str, str] = field(default_factory=dict[str, str])
    tensors: dict[str, str] = field(default_factory=dict[str, str])


def write_checksums(directory: Path, tensors: Mapping[str, Array]) -> None:
    """Write the checksums of a model after all its files are written.

    Args:
        directory: The model's.
        tensors: The weights in memory, not read back, so that a write error is found later. Those
            that are not finite get no checksum, and are refused on reading.

    Raises:
        OSError: A file cannot be read or written.
    """
    with ThreadPoolExecutor(usable_cpu_count()) as pool:
        sums = dict(zip(tensors, pool.map(_tensor_checksum, tensors.values()), strict=True))
    finite = {name: sums[name] for name, tensor in tensors.items() if is_finite(tensor)}
    files = {
        name: _file_checksum(directory / name)
        for name in _CHECKSUMMED_FILES
        if (directory / name).is_file()
    }
    write_dataclass(Checksums(files=files, tensors=finite), directory / CHECKSUMS_FILE)


def update_file_checksum(path: Path) -> None:
    """Update the checksum of a rewritten file, if its directory has checksums.

    Raises:
        CheckpointError: They are damaged.
        OSError: A file cannot be read or written.
    """
    sums = read_checksums(path.parent)
    if sums is not None:
        files = {**sums.files, path.name: _file_checksum(path)}
        write_dataclass(Checksums(files=files, tensors=sums.tensors), path.parent / CHECKSUMS_FILE)


def read_checksums(directory: Path) -> Checksums | None:
    """Read the checksums of a model's directory; None if it has none, as older ones.

    Raises:
        CheckpointError: They are damaged.
    """
    path = directory / CHECKSUMS_FILE
    if not path.is_file():
        return None
    try:
        data = read_json_object(path)
        method, files, tensors = (data[name] for name in ("method", "files", "tensors"))
        if method != _METHOD or not all(map(_is_checksum_table, (files, tensors))):
            raise ConfigError(f"got other things than sums by {_METHOD}")
    except (ConfigError, KeyError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as checksums: {error}; {_recovery_hint(directory)}"
        ) from error
    return Checksums(files=files, tensors=tensors)


def _is_checksum_table(table: object) -> bool:
    if not isinstance(table, dict):
        return False
    entries = cast("dict[object, object]", table)
    return all(isinstance(text, str) for item in entries.items() for text in item)


def verify_file_checksums(directory: Path, checksums: Checksums, names: Iterable[str]) -> None:
    """Compare files with their checksums; a file or checksum that is missing is skipped.

    Raises:
        CheckpointError: A file has changed since the model was saved.
    """
    for name in names:
        path, expected = directory / name, checksums.files.get(name)
        if expected is None or not path.is_file():
            continue
        if (got := _file_checksum(path)) != expected:
            raise _mismatch_error(str(path), got, expected, directory)


def verify_tensor_checksums(
    tensors: Iterable[tuple[str, Array]], checksums: Mapping[str, str], path: Path
) -> None:
    """Compare tensors with their checksums; those without one must be finite.

    Args:
        tensors: Each is used once and not stored.
        checksums: By name.
        path: The model's directory or its file of weights.

    Raises:
        CheckpointError: A tensor has changed since the model was saved, or is not finite.
    """
    for name, tensor, got in _iter_checksums(tensors, checksums):
        if got is None:
            require_finite(name, tensor, path)
        elif got != checksums[name]:
            require_finite(name, tensor, path)  # its message says more
            raise _mismatch_error(
                f"{path}: {name}", got, checksums[name], path.parent if path.is_file() else path
            )


def _iter_checksums(
    tensors: Iterable[tuple[str, Array]], checksums: Mapping[str, str]
) -> Iterator[tuple[str, Array, str | None]]:
    """Tensors with their checksums, computed by all cores; few are in memory at a time."""
    cores = usable_cpu_count()
    pending: deque[tuple[str, Array, Future[str] | None]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for name, tensor in tensors:
            made = pool.submit(_tensor_checksum, tensor) if name in checksums else None
            pending.append((name, tensor, made))
            if len(pending) > cores:
                yield _resolve(*pending.popleft())
        while pending:
            yield _resolve(*pending.popleft())


def _resolve(name: str, tensor: Array, future: Future[str] | None) -> tuple[str, Array, str | None]:
    return name, tensor, None if future is None else future.result()


def _tensor_checksum(tensor: Array) -> str:
    kind = f"torch.{tensor.dtype} {list(tensor.shape)}".encode()
    numbers = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
    return f"{zlib.crc32(numbers.data, zlib.crc32(kind)):08x}"


def _file_checksum(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"


def _mismatch_error(what: str, got: str, expected: str, directory: Path) -> CheckpointError:
    return CheckpointError(
        f"{what}: got {_METHOD} {got}, expected {expected} as in {CHECKSUMS_FILE}: damaged, or "
        f"changed since the model was saved; {_recovery_hint(directory)}"
    )


def _recovery_hint(directory: Path) -> str:
    return (
        "copy the model again, or, if it was changed on purpose, delete "
        f"{directory / CHECKSUMS_FILE}"
    )
