"""Interference with a benchmark: CPU time of other processes, and the spread of repeated calls."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from twinlens.hardware import affinity_cpu_count, cpu_busy_seconds

MAX_OTHER_CORES = 0.25
"""Cores that other processes may use beyond those that the measured threads leave free."""

MAX_SPREAD = 0.15
"""Largest interquartile range of a call's times, as a fraction of their median."""

_MIN_SECONDS = 0.5
"""Seconds below which the system's clock of CPU time, which counts hundredths, is too coarse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Other work during a benchmark, and whether it makes the benchmark unreliable.

    Attributes:
        others: Mean number of cores that other processes, and other virtual machines on the same
            processor, kept busy; None if the system does not say or the time was too short.
        spread: Interquartile range of a call's times divided by their median; the median over
            calls.
        reasons: Why the benchmark is unreliable, a sentence each; empty if it is reliable.
    """

    others: float | None
    spread: float
    reasons: tuple[str, ...]


class CpuMonitor:
    """Measures, from its construction on, how busy other processes keep our cores."""

    def __init__(self) -> None:
        self._start, self._start_busy, self._start_cpu_seconds = (
            time.perf_counter(),
            cpu_busy_seconds(),
            _process_cpu_seconds(),
        )
        self._load_average = None if self._start_busy is not None else _load_average()

    def other_cores_busy(self) -> float | None:
        """Mean number of cores that others kept busy so far.

        If the system gives only the load average, that is the load average at the start.
        """
        elapsed, busy = time.perf_counter() - self._start, cpu_busy_seconds()
        if busy is None or self._start_busy is None:
            return self._load_average
        if elapsed < _MIN_SECONDS:
            return None
        return (
            max(0.0, busy - self._start_busy - (_process_cpu_seconds() - self._start_cpu_seconds))
            / elapsed
        )


def check_disturbance(other_cores: float | None, num_threads: int, spread: float) -> Disturbance:
    """Compare the interference with its limits.

    Args:
        other_cores: Cores that others kept busy.
        num_threads: Threads of the benchmark that ran at a time.
        spread: See `Disturbance`.
    """
    cores = affinity_cpu_count()
    allowed = max(0, cores - num_threads) + MAX_OTHER_CORES
    reasons: list[str] = []
    if other_cores is not None and other_cores > allowed:
        reasons.append(
            f"other work kept {other_cores:.1f} of {cores} cores busy, "
            f"expected at most {allowed:g} beside {num_threads} threads"
        )
    if spread > MAX_SPREAD:
        reasons.append(
            f"repeats of one call differed by {spread:.0%} (between their quartiles), "
            f"expected at most {MAX_SPREAD:.0%}"
        )
    return Disturbance(others=other_cores, spread=spread, reasons=tuple(reasons))


def _process_cpu_seconds() -> float:
    """CPU seconds used by this process and by its children that have ended."""
    return sum(os.times()[:4])


def _load_average() -> float | None:
    """Load average of the last minute; None if the system has none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
