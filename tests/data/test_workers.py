"""Processes that read ahead: they end with whoever asked for them."""

import multiprocessing

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
