"""Devices: their names, peak FLOP/s and peak memory."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import time
from pathlib import Path

import torch

_PROC_STATUS, _PROC_CPUINFO = Path("/proc/self/status"), Path("/proc/cpuinfo")


def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product: the best of a few, in well under a second."""
    side = 1024 if device.type == "cpu" else 8192
    left, right = torch.ones(2, side, side, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        float((left @ right)[0, 0])  # reading a number waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """The maker's name of a device, or its kind if there is none."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    listed = _PROC_CPUINFO.read_text(encoding="utf-8") if _PROC_CPUINFO.exists() else ""
    named = re.search(r"^model name\s*: (.+)$", listed, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> float:
    """Bytes that this process held at most: of the device, or of the machine where it has none."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if _PROC_STATUS.exists():  # `getrusage` starts with what the process held that started this one
        return 1024.0 * int(_PROC_STATUS.read_text(encoding="ascii").split("VmHWM:")[1].split()[0])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(largest) * (1 if sys.platform == "darwin" else 1024)


def total_memory(device: torch.device) -> float:
    """Bytes of the device, or of the machine where it has none."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
