"""The processor, its cores and the memory that this process may use or has used."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import re
import sys
from pathlib import Path

_CGROUP_V2_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's CPU quota of cgroup v2: "max" or microseconds, then the period in microseconds."""

_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
"""The quota of cgroup v1 in microseconds, -1 for no limit."""

_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")

_PROC_STAT = Path("/proc/stat")
_PROC_STATUS, _PROC_CPUINFO = Path("/proc/self/status"), Path("/proc/cpuinfo")

_OPENMP_WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Environment variables that set how OpenMP threads wait."""


def usable_cpu_count() -> int:
    """Number of cores that this process may keep busy, at least 1.

    Fewer than the machine has if the process is bound to some of them or its container has a CPU
    quota; more threads than that only take turns.
    """
    cores = affinity_cpu_count()
    try:
        allowed, period = _read_cgroup_quota()
    except (OSError, ValueError):
        return cores
    if not allowed.isdecimal():  # "max", or -1
        return cores
    return max(1, min(cores, math.ceil(int(allowed) / int(period))))


def affinity_cpu_count() -> int:
    """Number of cores that this process may run on, regardless of CPU quotas."""
    return len(_cpu_affinity()) or os.cpu_count() or 1


def _cpu_affinity() -> set[int]:
    """Numbers of the cores that this process is bound to; empty if the system does not bind."""
    affinity = getattr(os, "sched_getaffinity", None)
    return affinity(0) if affinity else set()


def _read_cgroup_quota() -> tuple[str, str]:
    """The CPU quota and its period in microseconds, as text."""
    if _CGROUP_V2_QUOTA.exists():
        allowed, period = _CGROUP_V2_QUOTA.read_text(encoding="ascii").split()
        return allowed, period
    allowed, period = (
        path.read_text(encoding="ascii").strip() for path in (_CGROUP_V1_QUOTA, _CGROUP_V1_PERIOD)
    )
    return allowed, period


def cpu_busy_seconds() -> float | None:
    """Busy seconds of the cores that this process may run on, since the machine was started.

    Includes time that other virtual machines took. None if the system does not report it.
    """
    try:
        lines = _PROC_STAT.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    ours = {f"cpu{number}" for number in _cpu_affinity()}
    ticks = [
        [int(word) for word in words[1:9]] for words in map(str.split, lines) if words[0] in ours
    ]
    idle = sum(sum(one[3:5]) for one in ticks)  # including time waiting for disks
    return (sum(map(sum, ticks)) - idle) / os.sysconf("SC_CLK_TCK") if ticks else None


def processor_name() -> str:
    """The maker's name of the processor, or its architecture if the system names none."""
    listed = _PROC_CPUINFO.read_text(encoding="utf-8") if _PROC_CPUINFO.exists() else ""
    named = re.search(r"^model name\s*: (.+)$", listed, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def peak_process_memory() -> float:
    """Most bytes of the machine's memory that this process has held at a time."""
    if _PROC_STATUS.exists():  # `getrusage` starts with what the process held that started this one
        return 1024.0 * int(_PROC_STATUS.read_text(encoding="ascii").split("VmHWM:")[1].split()[0])
    import resource  # noqa: PLC0415  Windows has none

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(largest) * (1 if sys.platform == "darwin" else 1024)


def use_passive_openmp_wait() -> None:
    """Let OpenMP threads sleep while they wait, unless the environment sets how they wait.

    The threads of libgomp, which torch brings, spin. A spinning thread keeps its core from the
    thread that it waits for; where other programs use the cores too, small models become ten times
    slower. The setting is read when torch is imported. Only programs may set it: libraries leave
    the environment alone.
    """
    if not any(name in os.environ for name in _OPENMP_WAIT_VARIABLES):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def retain_freed_memory() -> None:
    """Let the C library keep freed memory for reuse, instead of returning it to the system.

    Training and int8 products allocate again what they have just freed, and each returned page is
    cleared and mapped anew: that took 1/20 of a training step and 1/4 of an int8 tower. Does
    nothing if the library is not glibc.
    """
    if sys.platform == "win32":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, size in _MALLOC_OPTIONS.items():
            mallopt(option, size)


_MALLOC_OPTIONS = {-1: 2**31 - 1, -2: 2**26, -3: 2**30}
"""M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD of malloc.h, in bytes."""
