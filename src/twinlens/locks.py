"""Locks that end with their process, however it ends.

They are the system's record locks on a file. A file that merely stands there would outlive a
process that was killed, and the number of that process says nothing on another machine or in
another container; the system knows who lives, over NFS too. A fork does not inherit them, so that
the readers of a killed run do not keep its place.
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
except ImportError:  # Windows has none of these locks
    fcntl = None

_held: set[tuple[int, int]] = set()
"""Files that this process holds: to the system its threads are one."""

_taking = threading.Lock()

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems say that have none."""


class HeldError(Exception):
    """A live process has the lock; says which, as far as it is known."""


@contextmanager
def holding(path: Path) -> Generator[bool]:
    """Hold the lock of a file while the block runs. The file is made, and removed at the end.

    Gives whether nobody else can have it too, which cannot be had on every file system.

    Raises:
        HeldError: A live process holds it.
        OSError: The file cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with holding(Path(folder) / "lock") as alone:
        ...         print(alone, [path.name for path in Path(folder).iterdir()])
        ...     list(Path(folder).iterdir())
        True ['lock']
        []
    """
    with _taking:
        handle, alone = _take(path)
        identity = _identity(os.fstat(handle))
        _held.add(identity)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield alone
    finally:
        with suppress(OSError):  # before the lock goes: who waits for it must make a new file
            path.unlink()
        _held.discard(identity)
        os.close(handle)


def _take(path: Path) -> tuple[int, bool]:
    """The open file, and whether it is locked."""
    while True:
        # Not to be opened here again: to close it would let go of it there.
        with suppress(FileNotFoundError):
            if _identity(path.stat()) in _held:
                raise HeldError("this process")
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            alone = _lock(handle)
            with suppress(FileNotFoundError):
                if _identity(path.stat()) == _identity(os.fstat(handle)):
                    return handle, alone
        except BlockingIOError:
            os.close(handle)
            raise HeldError(_holder(path)) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # whoever had it has just removed it


def _lock(handle: int) -> bool:
    """Lock an open file.

    Raises:
        BlockingIOError: Another process has it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # some systems say this instead
        raise BlockingIOError from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _holder(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8").strip() or "another process"
    return "another process"
