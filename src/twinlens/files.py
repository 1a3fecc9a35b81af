"""Atomic writes: under a name is the old content or all of the new, never a part.

A file is written in a directory next to its destination, `NAME.0123abcd.partial`, synced to disk
and renamed. A write that fails leaves nothing behind. Leftovers of a killed process are removed by
the next one that writes there; the directory of a live process holds a lock.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from twinlens.locks import LockHeldError, file_lock

_PARTIAL_GLOB = f"*.{'[0-9a-f]' * 8}.partial"
_LOCK_FILE = ".lock"


@contextmanager
def atomic_file(path: Path) -> Generator[BinaryIO]:
    """Open a file that takes the name `path` when the block has ended without an error.

    An existing file keeps its permissions; a new one has the user's default. A link is replaced,
    not followed.

    Raises:
        OSError: It cannot be written, such as on a full disk. The old content stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_file(Path(folder) / "a.txt") as file:
        ...         _ = file.write(b"a cat")
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.txt']
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        yield file


@contextmanager
def atomic_path(path: Path) -> Generator[Path]:
    """Like `atomic_file`, for libraries that write by name: yields the path of an empty file.

    Raises:
        OSError: As for `atomic_file`.
    """
    with _partial_path(path) as partial:
        partial.touch(exist_ok=False)
        mode = _permissions(path) or _permissions(partial)
        yield partial
        if _permissions(partial) != mode:  # a library may replace the file
            partial.chmod(mode)
        _fsync(partial)
        partial.replace(path)
    _fsync_directory(path.parent)


@contextmanager
def atomic_directory(path: Path) -> Generator[Path]:
    """Make a directory with all that the block writes into it, or none.

    Yields an empty directory next to `path`, which is renamed to `path` when the block has ended
    without an error. An empty directory at `path` is replaced. Parents are made, and removed again
    after a failure.

    Raises:
        OSError: It cannot be written, or `path` is not empty.
    """
    path = path.resolve()
    with ensure_directory(path.parent):
        with _partial_path(path) as partial:
            partial.mkdir()
            yield partial
            for written in [*partial.rglob("*"), partial]:
                _fsync(written)
            partial.replace(path)
        _fsync_directory(path.parent)


@contextmanager
def ensure_directory(path: Path) -> Generator[Path]:
    """Make a directory and its parents; those that were made and stay empty are removed again.

    Raises:
        OSError: It cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ensure_directory(Path(folder) / "a" / "b") as place:
        ...         place.is_dir()
        ...     list(Path(folder).iterdir())
        True
        []
    """
    new = [one for one in (path, *path.parents) if not one.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield path
    finally:
        with suppress(OSError):  # it is not empty
            for one in new:
                one.rmdir()


def atomic_write_text(text: str, path: Path) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        OSError: As for `atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(text.encode())


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_partial_files(directory: Path) -> None:
    """Remove the partial files of killed processes; those of live ones stay.

    Raises:
        OSError: One of them cannot be removed.
    """
    for partial in directory.glob(_PARTIAL_GLOB):
        if not partial.is_dir():
            partial.unlink(missing_ok=True)
            continue
        # Another process may remove it first, and a live one may be about to take its lock.
        with (
            suppress(LockHeldError, FileNotFoundError),
            file_lock(partial / _LOCK_FILE) as is_exclusive,
        ):
            if is_exclusive:
                shutil.rmtree(partial)


_swept_directories: set[Path] = set()


@contextmanager
def _partial_path(path: Path) -> Generator[Path]:
    """Yield a path in a new directory next to `path`, which a lock marks as in use.

    Each write has its own: of two at once the last wins, and they never mix.
    """
    if path.parent not in _swept_directories:  # once a process: there may be very many files
        _swept_directories.add(path.parent)
        with suppress(OSError):
            remove_partial_files(path.parent)
    partial, lock = _locked_partial_directory(path)
    try:
        yield partial / path.name
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.close()


def _locked_partial_directory(path: Path) -> tuple[Path, ExitStack]:
    while True:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        partial.mkdir()
        lock = ExitStack()
        try:
            lock.enter_context(file_lock(partial / _LOCK_FILE))
        except (LockHeldError, FileNotFoundError):
            continue  # another process removed the directory before it was locked
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return partial, lock


def _permissions(path: Path) -> int:
    """The permission bits of a file; 0 if there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


def _fsync(path: Path) -> None:
    """Sync a file's bytes, or a directory's names, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fsync_directory(directory: Path) -> None:
    try:
        _fsync(directory)
    except OSError as error:  # a folder that may not be listed, or a file system without the call
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise
