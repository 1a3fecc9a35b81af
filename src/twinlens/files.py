"""Whole files: under a name stands what was there before or all that was written, never a half.

Each is written beside its place, brought to the disk, and renamed; a write that fails leaves
nothing behind, and one that was killed a `NAME.0123abcd.partial` for `remove_partials`.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PARTIALS = f"*.{'[0-9a-f]' * 8}.partial"


@contextmanager
def whole_file(path: Path) -> Generator[BinaryIO]:
    """Open a file that takes the name `path` when the block has ended without an error.

    A file that is there keeps its permissions; a new one has the user's default. A link is
    replaced, not followed.

    Raises:
        OSError: It cannot be written: a full disk, say. What was there stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder) / "a.txt") as file:
        ...         _ = file.write(b"a cat")
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.txt']
    """
    with whole_path(path) as partial, partial.open("wb") as file:
        yield file


@contextmanager
def whole_path(path: Path) -> Generator[Path]:
    """As `whole_file`, for libraries that write by name: gives the place of an empty file.

    Raises:
        OSError: As for `whole_file`.
    """
    partial = _partial(path)
    try:
        partial.touch(exist_ok=False)
        mode = _mode(path) or _mode(partial)
        yield partial
        if _mode(partial) != mode:  # libraries may put a file of their own there
            partial.chmod(mode)
        _sync(partial)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    _sync_names(path.parent)


@contextmanager
def whole_directory(path: Path) -> Generator[Path]:
    """Make a directory with all that the block puts into it, or none.

    Gives an empty directory beside the place, which takes the name `path` when the block has ended
    without an error. An empty directory there is replaced, and parents are made.

    Raises:
        OSError: It cannot be written, or there is something at `path`.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        partial.mkdir()
        yield partial
        for place in [*partial.rglob("*"), partial]:
            _sync(place)
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync_names(path.parent)


def write_whole(text: str, path: Path) -> None:
    """Write a UTF-8 text file whole or not at all.

    Raises:
        OSError: As for `whole_file`.
    """
    with whole_file(path) as file:
        file.write(text.encode())


def remove_partials(directory: Path) -> None:
    """Remove what killed processes left half written.

    Raises:
        OSError: One of them cannot be removed.
    """
    for path in directory.glob(_PARTIALS):
        path.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """A place beside it. Each write has its own: two at once, the last wins, and they never mix."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")


def _mode(path: Path) -> int:
    """Permissions; 0 where there is no file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


def _sync(path: Path) -> None:
    """Have a file's bytes, or a directory's names, on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_names(directory: Path) -> None:
    try:
        _sync(directory)
    except OSError as error:  # a folder that may not be listed, or a file system without the call
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise
