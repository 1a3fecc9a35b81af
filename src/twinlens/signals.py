"""Ending a process on SIGINT and SIGTERM: at once if possible, in seconds if something hangs.

A signal becomes an exception of the main thread, which cleans up. Storage that does not answer and
code that does not return to Python can keep that from happening: after `GRACE_SECONDS` the process
is ended from another thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

GRACE_SECONDS = 8.0
"""Seconds from a signal to the end of the process: fewer than the ten that containers are given."""

_POLL_SECONDS = 0.05

_HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


_uninterruptible_blocks: list[None] = []
"""One entry for each `uninterruptible` block that is running."""


@contextmanager
def uninterruptible() -> Generator[None]:
    """Work that is finished after a signal, however long it takes: a step, a checkpoint."""
    _uninterruptible_blocks.append(None)
    try:
        yield
    finally:
        _uninterruptible_blocks.pop()


@contextmanager
def handle_signals() -> Generator[list[int]]:
    """Raise `Terminated` on SIGTERM; end the process `GRACE_SECONDS` after any signal.

    Yields a list that gets the signals as they arrive. Only the main thread can receive them.
    """
    received: list[int] = []
    if not _is_main_thread():
        yield received
        return
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    previous_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    threading.Thread(
        target=_watch_signals, args=(read_fd, received), daemon=True, name="signals"
    ).start()

    def terminate(number: int, frame: FrameType | None) -> None:
        if not received:  # the watching thread may have its turn only later
            received.append(number)
        raise Terminated

    try:
        with _on_sigterm(terminate):
            yield received
    finally:
        signal.set_wakeup_fd(previous_fd)
        os.close(write_fd)  # which ends the thread


def is_caused_by_signal(error: BaseException) -> bool:
    """True if an error follows from a signal: modules in C fail to import where one arrives."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


class StopSignal:
    """Receives SIGTERM, as schedulers send it before they kill, so that a run can save and end.

    Only the main thread can receive it; in others nothing is received.

    Attributes:
        received: True once SIGTERM has arrived.
        defer: True if even `interruptible` work is finished first, because other processes wait
            for this one.
    """

    def __init__(self, *, defer: bool = False) -> None:
        self.received = False
        self.defer = defer
        self._is_interruptible = False

    @contextmanager
    def listen(self) -> Generator[None]:
        """Receive SIGTERM here, instead of raising `Terminated`, while the block runs."""
        with _on_sigterm(self._handle_sigterm):
            yield

    @contextmanager
    def interruptible(self) -> Generator[None]:
        """Work that changes nothing of the run, and that SIGTERM ends.

        Raises:
            Terminated: SIGTERM arrived, before the block or in it.
        """
        self._is_interruptible = not self.defer
        try:
            if self.received and self._is_interruptible:
                raise Terminated
            yield
        finally:
            self._is_interruptible = False

    def _handle_sigterm(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if self._is_interruptible:
            self._is_interruptible = False
            raise Terminated


@contextmanager
def _on_sigterm(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Install a handler for the block, in the main thread only."""
    if not _is_main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _watch_signals(read_fd: int, received: list[int]) -> None:
    """Record each signal, and end the process later if it does not end itself."""
    is_first = True
    with os.fdopen(read_fd, "rb", buffering=0) as pipe:
        while numbers := pipe.read(1):
            if numbers[0] in _HANDLED_SIGNALS and is_first:
                is_first = False
                if not received:
                    received.append(numbers[0])
                threading.Thread(target=_exit_after_grace, args=(numbers[0],), daemon=True).start()


def _exit_after_grace(number: int) -> None:
    left = GRACE_SECONDS
    while left > 0:
        time.sleep(_POLL_SECONDS)
        left -= 0 if _uninterruptible_blocks else _POLL_SECONDS
    with suppress(OSError):
        os.write(2, b"stopped: what was under way did not end by itself\n")
    exit_now(128 + number)


def exit_now(status: int) -> NoReturn:
    """End the process and its child processes now, without waiting for threads."""
    while _uninterruptible_blocks:
        time.sleep(_POLL_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(status)


def exit_with_parent() -> None:
    """End this `multiprocessing` process when its parent ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()


def _reset_wakeup_fd() -> None:
    """Reset the wakeup file in a fork: its signals are not its parent's."""
    with suppress(ValueError):  # made by another thread than the main one
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_reset_wakeup_fd)
