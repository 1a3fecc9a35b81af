"""What tells a quiet machine from one that does other work."""

from pathlib import Path

import pytest

from twinlens import hardware
from twinlens.benchmark import interference
from twinlens.benchmark.interference import CpuMonitor, check_disturbance

STEADY, TORN = 0.05, 0.5


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interference, "affinity_cpu_count", lambda: 4)


@pytest.mark.parametrize(
    ("others", "threads", "spread", "said"),
    [
        (0.1, 4, STEADY, []),
        (0.3, 4, STEADY, ["other work kept 0.3 of 4 cores busy, expected at most 0.25 beside"]),
        (1.1, 3, STEADY, []),
        (1.4, 3, STEADY, ["other work kept 1.4 of 4 cores busy, expected at most 1.25 beside"]),
        (9.0, 8, STEADY, ["other work kept 9.0 of 4 cores busy, expected at most 0.25 beside"]),
        (None, 4, STEADY, []),
        (0.0, 4, TORN, ["repeats of one call differed by 50%"]),
        (2.0, 4, TORN, ["other work kept 2.0", "repeats of one call differed by 50%"]),
    ],
)
def test_the_limits(others: float | None, threads: int, spread: float, said: list[str]):
    found = check_disturbance(others, threads, spread)
    assert len(found.reasons) == len(said)
    for reason, words in zip(found.reasons, said, strict=True):
        assert reason.startswith(words)


@pytest.mark.parametrize(
    ("seconds", "busy", "ours", "expected"),
    [(10, 25, 15, 1.0), (10, 15, 15, 0.0), (10, 14, 15, 0.0), (0.1, 5, 0, None)],
)
def test_others_have_what_the_cores_did_and_we_did_not(
    monkeypatch: pytest.MonkeyPatch, seconds: float, busy: float, ours: float, expected: float
):
    clocks = iter([100.0, 100.0 + seconds])
    worked, used = iter([50.0, 50.0 + busy]), iter([7.0, 7.0 + ours])
    monkeypatch.setattr(interference.time, "perf_counter", lambda: next(clocks))
    monkeypatch.setattr(interference, "cpu_busy_seconds", lambda: next(worked))
    monkeypatch.setattr(interference, "_process_cpu_seconds", lambda: next(used))
    assert CpuMonitor().other_cores_busy() == (
        None if expected is None else pytest.approx(expected)
    )


def test_where_the_cores_do_not_say_the_load_at_the_start_counts(monkeypatch: pytest.MonkeyPatch):
    loads = iter([1.5, 9.0])
    monkeypatch.setattr(interference, "cpu_busy_seconds", lambda: None)
    monkeypatch.setattr(interference.os, "getloadavg", lambda: (next(loads), 0, 0))
    assert CpuMonitor().other_cores_busy() == 1.5


def test_seconds_of_the_cores_that_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  9 9 9 9 9 9 9 9 0 0\n"
        "cpu0 100 10 20 999 50 1 2 67 0 0\n"
        "cpu1 500 0 0 999 0 0 0 0 0 0\n"
        "cpu2 300 0 0 999 0 0 0 0 9 9\n"
        "intr 1 2\n"
    )
    monkeypatch.setattr(hardware, "_PROC_STAT", stat)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2}, raising=False)
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    assert hardware.cpu_busy_seconds() == pytest.approx(5.0)
    stat.unlink()
    assert hardware.cpu_busy_seconds() is None
