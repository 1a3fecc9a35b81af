"""Compiled towers on disk, so that the next process starts without compiling.

The name of a file is a digest of all that its contents depend on: the model's files, the tower, the
precision, the code that builds graphs, OpenVINO's version and the processor. A file is written
whole or not at all, and has a checksum: one that is damaged is removed with a warning and compiled
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinlens.checkpoints.formats.storage.arrays import map_file, release_pages
from twinlens.errors import ConfigError, one_line
from twinlens.files import atomic_file, remove_partial_files
from twinlens.inference.openvino_runtime import openvino, shared_core

_MAGIC = b"twinlens compiled 2\n"
_SUFFIX = ".blob"

_ALIGNMENT = 64
"""The contents begin at a multiple of as many bytes, which lets the runtime map them."""

MAX_CACHE_BYTES = 8 * 2**30
"""Most bytes of the directory: files that were not used for longest are removed beyond."""


def default_compiled_dir() -> Path:
    """The directory of compiled towers.

    Raises:
        ConfigError: The user has no home directory.
    """
    try:
        return Path.home() / ".cache" / "twinlens" / "openvino"
    except RuntimeError as error:
        raise ConfigError("HOME: got no home directory, expected one for the cache") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFile:
    """A compiled tower on disk.

    Attributes:
        path: The file.
        size: Its size in bytes.
        used: When it was used last, in seconds since 1970.
        model: The model's directory or file.
        tower: The tower and its output, as "image embedding".
        precision: The precision that it computes in.
    """

    path: Path
    size: int
    used: float
    model: str
    tower: str
    precision: str


def machine_key() -> Mapping[str, str]:
    """The runtime and the processor that a compiled tower is for."""
    core = shared_core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {
        "openvino": openvino.get_version(),
        "processor": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "capabilities": " ".join(sorted(capabilities)),
    }


@dataclass(frozen=True, slots=True)
class CompiledCache:
    """A directory of compiled towers.

    Attributes:
        directory: The directory; made when the first file is written.
        model: The model's directory or file, for people who list the files.
        max_bytes: Most bytes of all files together.
    """

    directory: Path
    model: str = ""
    max_bytes: int = MAX_CACHE_BYTES

    def has(self, key: Mapping[str, str]) -> bool:
        """True if there is a file of a tower; it may be damaged."""
        return self._path(key).is_file()

    def load(self, key: Mapping[str, str], settings: Mapping[str, Any]) -> tuple[Any, mmap] | None:
        """Load a compiled tower; None where there is none. A damaged one is removed.

        The second is the mapped file, which must live as long as the tower.

        Args:
            key: What the tower depends on besides the machine.
            settings: Those that it was compiled with.
        """
        path = self._path(key)
        try:
            mapped, begin = _map_checked(path)
            # OpenVINO checks little of what it is given: the checksum comes first.
            blob = openvino.Tensor(_contents(mapped, begin), shared_memory=True)
            compiled = shared_core().import_model(blob, "CPU", dict(settings))
        except OSError:
            return None  # where it cannot be written either, `save` says so
        except (ValueError, RuntimeError) as error:
            warnings.warn(
                f"{path}: a damaged compiled model was removed, and is compiled again: "
                f"{one_line(error, 200)}",
                stacklevel=2,
            )
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # the files that were not used for longest go first
        return compiled, mapped

    def save(self, key: Mapping[str, str], compiled: Any) -> None:
        """Write a compiled tower; where that fails, the answer does not, and a warning says so."""
        path, content = self._path(key), compiled.export_model().getbuffer()
        about = {**key, "model": self.model, "name": path.stem}
        about |= {"bytes": len(content), "crc32": zlib.crc32(content)}
        header = _MAGIC + json.dumps(about).encode() + b"\n"
        header = header[:-1] + b" " * (-len(header) % _ALIGNMENT) + b"\n"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            remove_partial_files(self.directory)
            with atomic_file(path) as file:
                file.write(header)
                file.write(content)
        except OSError as error:
            warnings.warn(
                f"{path}: the compiled model could not be cached: {error.strerror or error}; "
                "each start compiles again",
                stacklevel=2,
            )
        else:
            remove_oldest(self.directory, self.max_bytes, keep=path)

    def _path(self, key: Mapping[str, str]) -> Path:
        text = json.dumps({**key, **machine_key(), "format": _MAGIC.decode()}, sort_keys=True)
        return self.directory / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{_SUFFIX}"


def list_compiled(directory: Path) -> list[CompiledFile]:
    """List the compiled towers of a directory, the last used first.

    Files that cannot be read as such are left out.
    """
    found: list[CompiledFile] = []
    for path in directory.glob(f"*{_SUFFIX}"):
        try:
            status, about = path.stat(), _read_header(path)[0]
            found.append(
                CompiledFile(
                    path=path,
                    size=status.st_size,
                    used=status.st_mtime,
                    model=str(about["model"]),
                    tower=str(about["tower"]),
                    precision=str(about["precision"]),
                )
            )
        except (OSError, ValueError, KeyError):
            continue
    return sorted(found, key=lambda file: (-file.used, file.path))


def clear_compiled(directory: Path) -> tuple[int, int]:
    """Remove all compiled towers of a directory; returns their number and bytes.

    Raises:
        OSError: One of them cannot be removed.
    """
    found = _files(directory)
    for path, _ in found:
        path.unlink(missing_ok=True)
    remove_partial_files(directory)
    return len(found), sum(status.st_size for _, status in found)


def remove_compiled(directory: Path, model: Path) -> None:
    """Remove the compiled towers of a model that is deleted: its directory, or its file."""
    for file in list_compiled(directory):
        if file.model == str(model.resolve()):
            with suppress(OSError):  # another process removed it, or may alone do so
                file.path.unlink()


def remove_oldest(directory: Path, max_bytes: int, keep: Path) -> None:
    """Remove the files that were not used for longest until the others fit."""
    total = 0
    newest_first = sorted(_files(directory), key=lambda file: -file[1].st_mtime)
    for path, status in sorted(newest_first, key=lambda file: file[0] != keep):
        total += status.st_size
        if total > max_bytes and path != keep:
            with suppress(OSError):  # another process removed it, or may alone do so
                path.unlink()


def _files(directory: Path) -> list[tuple[Path, os.stat_result]]:
    """The compiled towers of a directory; those that other processes remove are left out."""
    found: list[tuple[Path, os.stat_result]] = []
    for path in directory.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            found.append((path, path.stat()))
    return found


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a file, and the offset of what follows.

    Raises:
        ValueError: It is another kind of file.
    """
    if not path.is_file():  # a pipe would block
        raise FileNotFoundError(path) if not path.exists() else ValueError("got no regular file")
    with path.open("rb") as file:
        if file.readline(64) != _MAGIC:
            raise ValueError(f"got another kind of file, expected {_MAGIC.decode().strip()!r}")
        about = json.loads(file.readline(2**20))
        if not isinstance(about, dict):
            raise ValueError("got no header")
        return about, file.tell()


def _map_checked(path: Path) -> tuple[mmap, int]:
    """A file mapped into memory, and the offset of its contents, which fit their checksum.

    Raises:
        ValueError: They differ from what was written.
    """
    about, begin = _read_header(path)
    if about.get("name") != path.stem:  # that of another model answers as wrongly as a damaged one
        raise ValueError(f"got the compiled model {about.get('name')!r} under another name")
    mapped = map_file(path)
    content = _contents(mapped, begin)
    if content.size != about.get("bytes") or zlib.crc32(content.data) != about.get("crc32"):
        raise ValueError(f"got {content.size} bytes with another checksum")
    release_pages(mapped)  # rows of a token embedding that no text has need no memory
    return mapped, begin


def _contents(mapped: mmap, begin: int) -> NDArray[np.uint8]:
    return np.frombuffer(mapped, np.uint8, offset=begin)
