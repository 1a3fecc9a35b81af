"""File locks that end with their process, however it ends.

They are POSIX record locks on a file. A mere file with a process number would outlive a killed
process, and the number means nothing on another machine or in another container; the system knows
which processes are alive, over NFS too. A fork does not inherit record locks, so that the loader
workers of a killed run do not hold its directory.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no record locks
    fcntl = None

_held_inodes: set[tuple[int, int]] = set()
"""Files that this process has locked: record locks do not tell its threads apart."""

_mutex = threading.Lock()

_UNSUPPORTED_ERRNOS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems without record locks."""


class LockHeldError(Exception):
    """A live process holds the lock; says which, if it is known."""


@contextmanager
def file_lock(path: Path) -> Generator[bool]:
    """Hold the lock of a file while the block runs. The file is made, and removed at the end.

    Yields True if the lock is exclusive, False on a file system without locks.

    Raises:
        LockHeldError: A live process holds it.
        OSError: The file cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with file_lock(Path(folder) / "lock") as is_exclusive:
        ...         print(is_exclusive, [path.name for path in Path(folder).iterdir()])
        ...     list(Path(folder).iterdir())
        True ['lock']
        []
    """
    with _mutex:
        fd, is_exclusive = _acquire(path)
        inode = _inode_key(os.fstat(fd))
        _held_inodes.add(inode)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield is_exclusive
    finally:
        with suppress(OSError):  # before the lock is released: others must make a new file
            path.unlink()
        _held_inodes.discard(inode)
        os.close(fd)


def _acquire(path: Path) -> tuple[int, bool]:
    """Open and lock a file; returns its descriptor and True if the file system has locks."""
    while True:
        # Closing a second descriptor of a locked file would release the lock.
        with suppress(FileNotFoundError):
            if _inode_key(path.stat()) in _held_inodes:
                raise LockHeldError("this process")
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_exclusive = _try_lock(fd)
            with suppress(FileNotFoundError):
                if _inode_key(path.stat()) == _inode_key(os.fstat(fd)):
                    return fd, is_exclusive
        except BlockingIOError:
            os.close(fd)
            raise LockHeldError(_lock_owner(path)) from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the previous holder has just removed the file


def _try_lock(fd: int) -> bool:
    """Lock an open file; returns False if the file system has no locks.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # some systems raise this instead
        raise BlockingIOError from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED_ERRNOS:
            raise
        return False
    return True


def _inode_key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _lock_owner(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8").strip() or "another process"
    return "another process"
