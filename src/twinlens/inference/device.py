"""Devices of torch: their names, peak FLOP/s and peak memory."""

from __future__ import annotations

import os
import time

import torch

from twinlens.hardware import peak_process_memory, processor_name


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
    return processor_name()


def peak_memory(device: torch.device) -> float:
    """Bytes that this process held at most: of the device, or of the machine where it has none."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return peak_process_memory()


def total_memory(device: torch.device) -> float:
    """Bytes of the device, or of the machine where it has none."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
