"""Processes that read ahead: they end with whoever asked for them."""

import multiprocessing
import os
import socket
from multiprocessing.reduction import DupFd

import pytest

from twinlens.data.workers import read_in_processes
from twinlens.errors import DataError


def test_an_error_that_is_kept_keeps_no_process():
    def read(step: int) -> int:
        raise DataError(f"step {step}")

    with pytest.raises(DataError, match="step 0") as kept:
        list(read_in_processes(read, range(4), workers=2, pin_memory=False))
    assert kept.value.__traceback__ is not None
    assert multiprocessing.active_children() == []


def test_a_connection_that_a_killed_parent_closes_is_no_traceback(
    capfd: pytest.CaptureFixture[str],
):
    def read(step: int) -> int:
        handle = DupFd(step)  # starts the thread that shares memory with the parent
        with socket.socket(socket.AF_UNIX) as parent:
            parent.connect(handle._id[0])  # pyright: ignore
        os.close(handle.detach())  # it answers one after the other: the first is done with
        return step

    assert list(read_in_processes(read, range(1, 3), workers=1, pin_memory=False)) == [1, 2]
    assert capfd.readouterr().err == ""
