"""Output of verbs: results on stdout, everything else on stderr; errors and exit statuses."""

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

from twinlens.errors import (
    DataError,
    MissingExtraError,
    StoppedError,
    TwinlensError,
    os_errors_as,
)
from twinlens.files import atomic_write_text, ensure_directory
from twinlens.formatting import format_minutes
from twinlens.types import ProgressCallback

if TYPE_CHECKING:
    from twinlens.data.left_out import LeftOut

EXIT_BUG = 1
EXIT_USER_ERROR = 2
EXIT_STOPPED = 75
"""EX_TEMPFAIL of sysexits.h: temporary, try again."""
EXIT_INTERRUPTED = 130


def print_json(value: object) -> None:
    """Print a result for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table for people; columns of numbers are right-aligned."""
    from rich.console import Console  # noqa: PLC0415  only tables need it
    from rich.table import Table  # noqa: PLC0415

    if title:  # not as the title of the table, which is wrapped at the table's width
        typer.echo(title)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        cells = [row[number] for row in rows if row[number]]
        numeric = all(cell[0].isdigit() for cell in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # A pipe has no width: its lines are not wrapped.
    width = None if sys.stdout.isatty() else 200
    Console(markup=False, highlight=False, width=width).print(table)


def log(message: str) -> None:
    """Print a line to stderr."""
    typer.echo(message, err=True)


@contextmanager
def spinner(message: str) -> Generator[None]:
    """Show a message with a spinner on a terminal while the block runs."""
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(message):
        yield


_BAR_DELAY = 2.0
"""Seconds before a progress bar appears."""

_LOG_INTERVAL = 30.0
"""Seconds between lines of progress if there is no terminal."""


@contextmanager
def progress_reporter(message: str) -> Generator[ProgressCallback]:
    """Report progress on stderr: a bar on a terminal, else a line now and then.

    Short work shows nothing. Yields a function of (done, total, what is next).
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
    logged = start = time.monotonic()
    starts: dict[int, tuple[float, int]] = {}  # time and count at the first call, by total

    def progress(done: int, total: int, what: str = "") -> None:
        nonlocal logged
        described = f"{message}: {what}" if what else message
        now = time.monotonic()
        starts.setdefault(total, (now, done))
        bar.update(task, description=described, completed=done, total=total)
        if console.is_terminal and now - start >= _BAR_DELAY:
            bar.start()
        elif not console.is_terminal and now - logged >= _LOG_INTERVAL:
            log(
                f"{described}: {done:,} of "
                f"{total:,}{_format_time_left(*starts[total], now, done, total)}"
            )
            logged = now

    try:
        yield progress
    finally:
        if bar.live.is_started:
            bar.stop()


def _format_time_left(start: float, start_count: int, now: float, done: int, total: int) -> str:
    """Format the time that the rest takes at the speed so far."""
    if done <= start_count:
        return ""
    seconds = (now - start) / (done - start_count) * (total - done)
    return f", {format_minutes(seconds)} left"


def write_text(path: Path, text: str) -> None:
    """Write a file, atomically, and the directories above it.

    Raises:
        DataError: It cannot be written, as on a full disk.
    """
    with os_errors_as(DataError, path, "cannot be written"), ensure_directory(path.parent):
        if path.exists() and not path.is_file():  # a pipe or a device is not replaced
            path.write_text(text, encoding="utf-8")
        else:
            atomic_write_text(text, path.resolve())  # a symbolic link is followed


def report_error(error: Exception, *, with_traceback: bool) -> int:
    """Print an error as one line and return the exit status."""
    if with_traceback:
        traceback.print_exception(error)
    usage = getattr(error, "format_message", None)  # an option or argument that Typer refused
    if usage is not None:
        message = usage().replace("Value error, ", "")  # Typer's, before an unknown choice
        if message:
            log(f"error: {message.rstrip('.')}; see --help")
        return EXIT_USER_ERROR
    if isinstance(error, StoppedError):
        log(str(error))
        return EXIT_STOPPED
    if isinstance(error, TwinlensError | OSError):
        log(f"error: {_error_message(error)}")
        return EXIT_USER_ERROR
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        log(f"error: {MissingExtraError('torch', 'train')}")
        return EXIT_USER_ERROR
    hint = "" if with_traceback else "; run again with --traceback and report it"
    log(f"error: a bug in twinlens: {type(error).__name__}: {_error_message(error)}{hint}")
    return EXIT_BUG


def _error_message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        path = f"{error.filename}: " if error.filename else ""
        return f"{path}{error.strerror}"
    return " ".join(str(error).split())


def log_left_out(left_out: LeftOut, title: str) -> None:
    """Log what is left out, under a title: a line for each reason."""
    if left_out.total:
        log(f"{title}:")
    for line in left_out.lines():
        log(f"  {line}")
