"""Checksums of a model's directory: a CRC-32 of each tensor and of the files beside the weights.

They find damage (a flipped byte, a part of another file), not forgery. A tensor is checked when it
is read, so that a tower that is not asked for costs nothing. Weights that agree with their sum were
finite when they were saved, and are not looked through again.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from twinlens.checkpoints.finite import is_finite, require_finite
from twinlens.config_io import read_plain_json, write_json
from twinlens.errors import CheckpointError, ConfigError
from twinlens.hardware import usable_cores

CHECKSUMS_FILE = "checksums.json"

_FILES = ("config.json", "tokenizer.json", "classifier.safetensors")
_METHOD = "crc32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksums:
    """What a model's files and tensors should be, by name, in hexadecimal.

    Attributes:
        method: Of all sums.
        files: Beside the weights; of all their bytes.
        tensors: Of the type, the shape and the numbers as they are in the file.
    """

    method: str = _METHOD
    files: dict[str, str] = field(default_factory=dict[str, str])
    tensors: dict[str, str] = field(default_factory=dict[str, str])


def write_checksums(directory: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the checksums of a model whose files are all there.

    Args:
        directory: The model's.
        tensors: What was written, as it was before: what the disk changed is found later. Those
            that are not finite have no sum, and are refused by whoever reads them.

    Raises:
        OSError: A file cannot be read or written.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        sums = dict(zip(tensors, pool.map(_sum_of, tensors.values()), strict=True))
    finite = {name: sums[name] for name, tensor in tensors.items() if is_finite(tensor)}
    files = {
        name: _sum_of_file(directory / name) for name in _FILES if (directory / name).is_file()
    }
    write_json(Checksums(files=files, tensors=finite), directory / CHECKSUMS_FILE)


def note_file(path: Path) -> None:
    """Bring the checksum of a file that was written anew into those of its directory, if any.

    Raises:
        CheckpointError: They are damaged.
        OSError: A file cannot be read or written.
    """
    sums = read_checksums(path.parent)
    if sums is not None:
        files = {**sums.files, path.name: _sum_of_file(path)}
        write_json(Checksums(files=files, tensors=sums.tensors), path.parent / CHECKSUMS_FILE)


def read_checksums(directory: Path) -> Checksums | None:
    """The checksums of a model's directory; None where it has none, as before there were any.

    Raises:
        CheckpointError: They are damaged.
    """
    path = directory / CHECKSUMS_FILE
    if not path.is_file():
        return None
    try:
        data = read_plain_json(path)
        method, files, tensors = (data[name] for name in ("method", "files", "tensors"))
        if method != _METHOD or not all(map(_are_sums, (files, tensors))):
            raise ConfigError(f"got other things than sums by {_METHOD}")
    except (ConfigError, KeyError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as checksums: {error}; {_way_out(directory)}"
        ) from error
    return Checksums(files=files, tensors=tensors)


def _are_sums(table: object) -> bool:
    if not isinstance(table, dict):
        return False
    entries = cast("dict[object, object]", table)
    return all(isinstance(one, str) for item in entries.items() for one in item)


def check_files(directory: Path, sums: Checksums, names: Iterable[str]) -> None:
    """Compare files beside the weights with their checksums, as far as both are there.

    Raises:
        CheckpointError: One is another than when the model was saved.
    """
    for name in names:
        path, expected = directory / name, sums.files.get(name)
        if expected is None or not path.is_file():
            continue
        if (got := _sum_of_file(path)) != expected:
            raise _differs(str(path), got, expected, directory)


def check_tensors(
    tensors: Iterable[tuple[str, Tensor]], sums: Mapping[str, str], path: Path
) -> None:
    """Compare tensors with their checksums; those without one must be finite.

    Args:
        tensors: Each is looked at once and not kept.
        sums: By name.
        path: The model's directory or its file of weights.

    Raises:
        CheckpointError: One is another than when the model was saved, or not finite.
    """
    for name, tensor, got in _summed(tensors, sums):
        if got is None:
            require_finite(name, tensor, path)
        elif got != sums[name]:
            require_finite(name, tensor, path)  # which says more
            raise _differs(
                f"{path}: {name}", got, sums[name], path.parent if path.is_file() else path
            )


def _summed(
    tensors: Iterable[tuple[str, Tensor]], sums: Mapping[str, str]
) -> Iterator[tuple[str, Tensor, str | None]]:
    """Tensors with their sums, made by all cores; few are held at a time."""
    cores = usable_cores()
    pending: deque[tuple[str, Tensor, Future[str] | None]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for name, tensor in tensors:
            made = pool.submit(_sum_of, tensor) if name in sums else None
            pending.append((name, tensor, made))
            if len(pending) > cores:
                yield _settled(*pending.popleft())
        while pending:
            yield _settled(*pending.popleft())


def _settled(name: str, tensor: Tensor, made: Future[str] | None) -> tuple[str, Tensor, str | None]:
    return name, tensor, None if made is None else made.result()


def _sum_of(tensor: Tensor) -> str:
    kind = f"{tensor.dtype} {list(tensor.shape)}".encode()
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{zlib.crc32(numbers.data, zlib.crc32(kind)):08x}"


def _sum_of_file(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"


def _differs(what: str, got: str, expected: str, directory: Path) -> CheckpointError:
    return CheckpointError(
        f"{what}: got {_METHOD} {got}, expected {expected} as in {CHECKSUMS_FILE}: damaged, or "
        f"changed since the model was saved; {_way_out(directory)}"
    )


def _way_out(directory: Path) -> str:
    return (
        "copy the model again, or, if it was changed on purpose, delete "
        f"{directory / CHECKSUMS_FILE}"
    )
