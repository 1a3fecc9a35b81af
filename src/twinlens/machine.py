"""What of this machine is ours to use."""

from __future__ import annotations

import math
import os
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
