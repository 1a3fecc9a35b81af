"""Whole files: under a name stands what was there before or all that was written, never a half.

Each is written in a directory beside its place, `NAME.0123abcd.partial`, brought to the disk, and
renamed. A write that fails leaves nothing behind. What one leaves that was killed, the next process
removes that writes there: the directory of a live one holds a lock.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from twinlens.locks import HeldError, holding

_PARTIALS = f"*.{'[0-9a-f]' * 8}.partial"
_LOCK = ".lock"


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
    with _beside(path) as partial:
        partial.touch(exist_ok=False)
        mode = _mode(path) or _mode(partial)
        yield partial
        if _mode(partial) != mode:  # libraries may put a file of their own there
            partial.chmod(mode)
        _sync(partial)
        partial.replace(path)
    _sync_names(path.parent)


@contextmanager
def whole_directory(path: Path) -> Generator[Path]:
    """Make a directory with all that the block puts into it, or none.

    Gives an empty directory beside the place, which takes the name `path` when the block has ended
    without an error. An empty directory there is replaced, and parents are made; where it fails,
    they are removed again.

    Raises:
        OSError: It cannot be written, or there is something at `path`.
    """
    path = path.resolve()
    with made_directory(path.parent):
        with _beside(path) as partial:
            partial.mkdir()
            yield partial
            for place in [*partial.rglob("*"), partial]:
                _sync(place)
            partial.replace(path)
        _sync_names(path.parent)


@contextmanager
def made_directory(path: Path) -> Generator[Path]:
    """Have a directory and those above it; what was made of them goes again if it stays empty.

    Raises:
        OSError: It cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with made_directory(Path(folder) / "a" / "b") as place:
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
        with suppress(OSError):  # something is in it, as there should be
            for one in new:
                one.rmdir()


def write_whole(text: str, path: Path) -> None:
    """Write a UTF-8 text file whole or not at all.

    Raises:
        OSError: As for `whole_file`.
    """
    with whole_file(path) as file:
        file.write(text.encode())


def remove_partials(directory: Path) -> None:
    """Remove what killed processes left half written; what a live one writes stays.

    Raises:
        OSError: One of them cannot be removed.
    """
    for partial in directory.glob(_PARTIALS):
        if not partial.is_dir():
            partial.unlink(missing_ok=True)
            continue
        # Another one that sweeps may be faster, and a live one may be about to take its lock.
        with suppress(HeldError, FileNotFoundError), holding(partial / _LOCK) as alone:
            if alone:
                shutil.rmtree(partial)


_swept: set[Path] = set()


@contextmanager
def _beside(path: Path) -> Generator[Path]:
    """A free name in a directory beside the place, which a lock marks as a live process's.

    Each write has its own: two at once, the last wins, and they never mix.
    """
    if path.parent not in _swept:  # by a process once: a directory may hold a great many files
        _swept.add(path.parent)
        with suppress(OSError):
            remove_partials(path.parent)
    partial, lock = _locked_place(path)
    try:
        yield partial / path.name
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.close()


def _locked_place(path: Path) -> tuple[Path, ExitStack]:
    while True:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        partial.mkdir()
        lock = ExitStack()
        try:
            lock.enter_context(holding(partial / _LOCK))
        except (HeldError, FileNotFoundError):
            continue  # one that sweeps was here before the lock
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return partial, lock


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
