"""Calls in turn: how often, in which order, and what becomes of those that memory fails."""

from functools import partial

import pytest
import torch

from twinlens.benchmark import timing
from twinlens.benchmark.timing import MIN_CALLS, TimedCall, time_interleaved


def nothing(done: int, total: int, what: str = "") -> None:
    pass


def test_calls_take_turns_and_the_first_does_not_count(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    now = 0.0

    def call(name: str, seconds: float) -> None:
        nonlocal now
        now += seconds
        order.append(name)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    calls = [TimedCall(n, partial(call, n, s)) for n, s in (("a", 0.02), ("b", 0.0005))]
    time_interleaved(calls, 0.05, nothing)
    turns = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert turns[:6] == ["a", "b", "a", "b", "a", "b"]
    slow, fast = calls
    assert MIN_CALLS <= len(slow.seconds) < order.count("a")
    assert len(fast.seconds) > 50
    assert slow.quantile(0.5) >= 0.02 > fast.quantile(0.5)


def test_what_is_slow_is_called_as_often_as_a_median_needs():
    called: list[int] = []
    slow = TimedCall("slow", lambda: called.append(1))
    time_interleaved([slow], 1e-9, nothing)
    assert len(slow.seconds) == MIN_CALLS
    assert len(called) == MIN_CALLS + 1


def test_progress_says_what_is_next_and_ends_at_the_end():
    told: list[tuple[int, int, str]] = []
    call = TimedCall("one", lambda: None)
    time_interleaved([call], 1e-9, lambda done, total, what="": told.append((done, total, what)))
    assert told[0] == (0, 6, "one, warming up")
    assert told[1] == (1, 6, "one")
    assert told[-1][:2] == (6, 6)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_want_of_memory_is_noted_and_the_others_go_on(error: Exception):
    def fail() -> None:
        raise error

    calls = [TimedCall("large", fail), TimedCall("small", lambda: None)]
    time_interleaved(calls, 1e-9, nothing)
    assert (calls[0].failure, calls[0].seconds) == ("out of memory", [])
    assert len(calls[1].seconds) == MIN_CALLS


def test_any_other_error_is_raised():
    def fail() -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        time_interleaved([TimedCall("wrong", fail)], 1e-9, nothing)
