"""Worker processes that prepare batches ahead, by torch's DataLoader."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence, Set
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TypeVar

from torch.utils.data import DataLoader, Dataset

from twinlens.errors import DataError, TwinlensError
from twinlens.signals import exit_with_parent

_T = TypeVar("_T")


def read_in_processes(
    read: Callable[[int], _T], steps: Sequence[int], *, workers: int, pin_memory: bool
) -> Iterator[_T]:
    """`read` of each step in order, in processes of one thread; tensors pass by shared memory.

    The processes are forked: what `read` needs, a data set of millions perhaps, is there at once
    and takes no memory again. They are made before the first batch, when this process has no lock
    taken that a fork could inherit, and touch no GPU.

    Raises:
        DataError: A process died.
    """
    others = set(multiprocessing.active_children())
    done = False
    with warnings.catch_warnings():
        # How many are too many is the caller's to know: readers that wait for storage cost nothing.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        batches = iter(
            DataLoader["_T | TwinlensError"](
                _StepDataset(read),
                batch_size=None,
                sampler=steps,
                num_workers=workers,
                multiprocessing_context="fork",
                prefetch_factor=2,
                pin_memory=pin_memory,
                worker_init_fn=_initialize_worker,
            )
        )
    try:
        for batch in batches:
            if isinstance(batch, TwinlensError):
                raise batch
            yield batch
        done = True
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise DataError(f"a process that reads images died ({reason}): out of memory?") from error
    finally:
        if not done:  # one may hang in its storage: it is not to be waited for
            _kill_workers(set(multiprocessing.active_children()) - others)
        # The processes end with the last name for them, and they do not hear SIGTERM: kept by the
        # story of an error, they would be waited for in vain when this process ends.
        del batches


def _kill_workers(processes: Set[BaseProcess]) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's takes it for a misfortune
    for process in processes:
        process.kill()


class _StepDataset(Dataset["_T | TwinlensError"]):
    """Batches by their number.

    An error is handed over whole: raised there, it would come wrapped in pages of that process's
    own story.
    """

    def __init__(self, read: Callable[[int], _T]) -> None:
        self.read = read

    def __getitem__(self, index: int) -> _T | TwinlensError:
        try:
            return self.read(index)
        except TwinlensError as error:
            return error


def _initialize_worker(_: int) -> None:
    # A scheduler's SIGTERM and a terminal's Ctrl-C reach all processes at once: the parent saves
    # first, and needs no reader to die on it. When it ends, they end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _print_unless_disconnected
    exit_with_parent()


def _print_unless_disconnected(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    # The thread that shares memory with the parent reports its errors here. A parent that is
    # killed closes the connection a moment before its workers are ended.
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, traceback)
