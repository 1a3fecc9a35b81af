"""What of this machine is ours to use."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's share of the processor time, "max" or microseconds, and of how many."""


def usable_cores() -> int:
    """Cores that this process may keep busy: at least 1.

    Fewer than the machine has where the process is bound to some of them, or its container is
    given a share of their time: more threads than that only take turns.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        allowed, period = _QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if allowed == "max" else max(1, min(cores, math.ceil(int(allowed) / int(period))))


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
