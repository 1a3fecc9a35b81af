"""Standard output that may be closed, full or no longer read: no answer is lost without a word."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

from twinlens.errors import DataError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDIN_FD, _STDOUT_FD, _STDERR_FD = 0, 1, 2

EXIT_BROKEN_PIPE = 128 + getattr(signal, "SIGPIPE", 13)
"""Of a command whose reader has gone: what a shell says of one that SIGPIPE ended."""


class _ErrorRecordingStream(io.FileIO):
    """A stream that goes on when it cannot be written to, and keeps why.

    A verb that writes files beside its answer writes those all the same.
    """

    write_error: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or drop and keep the first reason."""
        if self.write_error is None:
            try:
                return super().write(data) or 0
            except BlockingIOError:
                raise  # a pipe that is full for now
            except OSError as error:
                self.write_error = error
        return memoryview(data).nbytes


class StandardStreams:
    """Standard output and error, watched from the start of the command to its end."""

    def __init__(self) -> None:
        self.is_stdout_closed = not _is_open(_STDOUT_FD)
        for number in (
            _STDIN_FD,
            _STDOUT_FD,
            _STDERR_FD,
        ):  # else the next file opened would be in its place
            if not _is_open(number):
                os.open(os.devnull, os.O_RDWR)
        self._stdout = (
            None if self.is_stdout_closed else _install_recording_stream("stdout", _STDOUT_FD)
        )
        _install_recording_stream("stderr", _STDERR_FD)

    def require_stdout(self) -> None:
        """Refuse to work out an answer that nobody could get.

        Raises:
            DataError: Standard output was closed from the start.
        """
        if self.is_stdout_closed:
            raise DataError(
                "standard output: got a closed one, expected one to answer on; "
                "where no answer is wanted, >/dev/null"
            )

    def write_error(self) -> OSError | None:
        """The error that lost a part of the output, if any; nothing may be printed after."""
        if self._stdout is None or sys.stdout is None:
            return None
        sys.stdout.flush()
        return self._stdout.write_error


def is_broken_pipe(error: OSError) -> bool:
    """True if the reader has had enough: it is no error, and nobody is told."""
    return error.errno == errno.EPIPE


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _install_recording_stream(name: str, fd: int) -> _ErrorRecordingStream | None:
    """Put a stream that keeps its losses in the place of one that may have some."""
    stream = getattr(sys, name)
    try:
        if stream is None or stream.fileno() != fd or stream.isatty():
            return None
    except (AttributeError, OSError):  # not of the system: a test's, or a notebook's
        return None
    stream.flush()
    raw = _ErrorRecordingStream(fd, "wb", closefd=False)
    watched = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=name == "stderr",
    )
    setattr(sys, name, watched)
    return raw
