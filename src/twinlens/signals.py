"""How signals end a process: at once where that is possible, and in seconds where something hangs.

A signal becomes an exception of the main thread, which undoes what was begun. Storage that does not
answer, and code that does not return to Python, can keep that from happening: after `GRACE` the
process is ended from another thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

GRACE = 3.0
"""Seconds from a signal to the end of the process."""

_TICK = 0.05

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


_busy: list[None] = []
"""One entry for each block that is not to be cut short."""


@contextmanager
def unhurried() -> Generator[None]:
    """What is finished after a signal, however long it takes: a step, a checkpoint."""
    _busy.append(None)
    try:
        yield
    finally:
        _busy.pop()


@contextmanager
def listening() -> Generator[list[int]]:
    """While the block runs, SIGTERM raises `Terminated`, and no signal takes longer than `GRACE`.

    Gives a list that gets the signals as they come. Only the main thread can listen.
    """
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.signal(signal.SIGTERM, _terminate)
    earlier = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, heard), daemon=True, name="signals").start()
    try:
        yield heard
    finally:
        signal.set_wakeup_fd(earlier)
        signal.signal(signal.SIGTERM, before)
        os.close(writing)  # which ends the thread


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _watch(reading: int, heard: list[int]) -> None:
    """End the process, should it not end itself."""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while numbers := pipe.read(1):
            if numbers[0] in _SIGNALS and not heard:
                heard.append(numbers[0])
                threading.Thread(target=_end_later, args=(numbers[0],), daemon=True).start()


def _end_later(number: int) -> None:
    left = GRACE
    while left > 0:
        time.sleep(_TICK)
        left -= 0 if _busy else _TICK
    with suppress(OSError):
        os.write(2, b"stopped: what was under way did not end by itself\n")
    leave(128 + number)


def leave(status: int) -> NoReturn:
    """End the process now, with those that it began, and wait for no thread of it."""
    while _busy:
        time.sleep(_TICK)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(status)


def end_with_parent() -> None:
    """Have this process, of `multiprocessing`, end when the one that began it does."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()


def _forget() -> None:
    """A fork must not tell its parent of its own signals."""
    with suppress(ValueError):  # made by another thread than the main one
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget)
