"""What of this machine is ours to use."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's share of the processor time, "max" or microseconds, and of how many."""

_OLDER_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
"""The same of the first version of control groups, -1 for no limit."""

_OLDER_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")

_TIMES = Path("/proc/stat")

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables that say how threads of OpenMP wait."""


def usable_cores() -> int:
    """Cores that this process may keep busy: at least 1.

    Fewer than the machine has where the process is bound to some of them, or its container is
    given a share of their time: more threads than that only take turns.
    """
    cores = bound_cores()
    try:
        allowed, period = _quota()
    except (OSError, ValueError):
        return cores
    if not allowed.isdecimal():  # "max", or -1
        return cores
    return max(1, min(cores, math.ceil(int(allowed) / int(period))))


def bound_cores() -> int:
    """Cores that this process may run on, whatever share of their time it is given."""
    return len(_bound()) or os.cpu_count() or 1


def _bound() -> set[int]:
    """Their numbers; none where the system does not bind processes."""
    affinity = getattr(os, "sched_getaffinity", None)
    return affinity(0) if affinity else set()


def _quota() -> tuple[str, str]:
    """Microseconds of the processors' time, and of how many."""
    if _QUOTA.exists():
        allowed, period = _QUOTA.read_text(encoding="ascii").split()
        return allowed, period
    allowed, period = (
        path.read_text(encoding="ascii").strip() for path in (_OLDER_QUOTA, _OLDER_PERIOD)
    )
    return allowed, period


def cores_busy() -> float | None:
    """Seconds that the cores we may run on have worked since the machine was started.

    Time that another machine on the same processor took counts. None where the system does not say.
    """
    try:
        lines = _TIMES.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    ours = {f"cpu{number}" for number in _bound()}
    ticks = [
        [int(word) for word in words[1:9]] for words in map(str.split, lines) if words[0] in ours
    ]
    idle = sum(sum(one[3:5]) for one in ticks)  # with what waits for a disk
    return (sum(map(sum, ticks)) - idle) / os.sysconf("SC_CLK_TCK") if ticks else None


def wait_without_spinning() -> None:
    """Have OpenMP's threads sleep while they wait, unless the environment says how they wait.

    Those of libgomp, which torch brings, spin: a thread that spins on a core keeps it from the one
    that it waits for, and where others use the cores, too, small models become ten times slower.
    It is read when torch is imported, and only programs may set it: libraries leave the environment
    alone.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next time, instead of giving it back.

    Training and products of integers free what they soon ask for again, and each page that is
    given back is cleared and mapped anew: a twentieth of a training step, a quarter of a tower in
    8 bits. Nothing happens where the library is not glibc.
    """
    if sys.platform == "win32":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, size in _MALLOC_OPTIONS.items():
            mallopt(option, size)


_MALLOC_OPTIONS = {-1: 2**31 - 1, -2: 2**26, -3: 2**30}
"""Of malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, in bytes."""
