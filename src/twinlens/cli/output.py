"""Results to stdout, everything else to stderr, and every ending with its exit status."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from twinlens.errors import DataError, StoppedError, TwinlensError
from twinlens.files import atomic_write_text, ensure_directory
from twinlens.types import ProgressCallback

if TYPE_CHECKING:
    from twinlens.data.left_out import LeftOut

EXIT_BUG = 1
EXIT_USER_ERROR = 2
EXIT_STOPPED = 75
"""As sysexits.h has it: temporary, try again."""
EXIT_INTERRUPTED = 130


def print_json(value: object) -> None:
    """An answer for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """An answer for people; columns whose cells are numbers are right-aligned."""
    from rich.console import Console  # noqa: PLC0415  only tables need it
    from rich.table import Table  # noqa: PLC0415

    if title:  # not the table's own, which is cut into lines of the table's width
        typer.echo(title)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        cells = [row[number] for row in rows if row[number]]
        numeric = all(cell[0].isdigit() for cell in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # A pipe has no width: lines there are as long as they need to be.
    width = None if sys.stdout.isatty() else 200
    Console(markup=False, highlight=False, width=width).print(table)


def log(message: str) -> None:
    """A line beside the answer."""
    typer.echo(message, err=True)


@contextmanager
def spinner(message: str) -> Generator[None]:
    """Say on a terminal what takes a while, until it is done."""
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(message):
        yield


_BAR_DELAY = 2.0
"""Seconds that work may take without a bar."""

_LOG_INTERVAL = 30.0
"""Seconds between lines where there is no terminal."""


@contextmanager
def progress_reporter(message: str) -> Generator[ProgressCallback]:
    """Show how much of some long work is done: a bar on a terminal, now and then a line elsewhere.

    What is over at once shows nothing. Gives a function of (done, in all, what is next).
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    texts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    bar = Progress(*texts, TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task(message, total=None)
    said = began = time.monotonic()
    first: dict[int, tuple[float, int]] = {}  # when each piece of work of so many began, and where

    def progress(done: int, total: int, what: str = "") -> None:
        nonlocal said
        described = f"{message}: {what}" if what else message
        now = time.monotonic()
        first.setdefault(total, (now, done))
        bar.update(task, description=described, completed=done, total=total)
        if console.is_terminal and now - began >= _BAR_DELAY:
            bar.start()
        elif not console.is_terminal and now - said >= _LOG_INTERVAL:
            log(
                f"{described}: {done:,} of "
                f"{total:,}{_format_time_left(*first[total], now, done, total)}"
            )
            said = now

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()


def _format_time_left(start: float, start_count: int, now: float, done: int, total: int) -> str:
    """The time that the rest takes at the pace so far."""
    if done <= start_count:
        return ""
    minutes, seconds = divmod(round((now - start) / (done - start_count) * (total - done)), 60)
    return f", {minutes}:{seconds:02d} left"


def write_text(path: Path, text: str) -> None:
    """Write a file and the directories above it; whole or not at all.

    Raises:
        DataError: It cannot be written: a full disk, say.
    """
    try:
        with ensure_directory(path.parent):
            if path.exists() and not path.is_file():  # a pipe or a device: no name to take over
                path.write_text(text, encoding="utf-8")
            else:
                atomic_write_text(text, path.resolve())  # through a link, as any program would
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def report_error(error: Exception, *, with_traceback: bool) -> int:
    """Print what went wrong as one line; returns the exit status."""
    if with_traceback:
        traceback.print_exception(error)
    usage = getattr(error, "format_message", None)  # an option or argument that Typer refused
    if usage is not None:
        message = usage()
        if message:
            log(f"error: {message.rstrip('.')}; see --help")
        return EXIT_USER_ERROR
    if isinstance(error, StoppedError):
        log(str(error))
        return EXIT_STOPPED
    if isinstance(error, TwinlensError | OSError):
        log(f"error: {_error_message(error)}")
        return EXIT_USER_ERROR
    hint = "" if with_traceback else "; run again with --traceback and report it"
    log(f"error: a bug in twinlens: {type(error).__name__}: {_error_message(error)}{hint}")
    return EXIT_BUG


def _error_message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return " ".join(str(error).split())


def log_left_out(left_out: LeftOut, title: str) -> None:
    """A line on stderr for each reason, under a title."""
    if left_out.total:
        log(f"{title}:")
    for line in left_out.lines():
        log(f"  {line}")
