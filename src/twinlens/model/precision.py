"""Where and in what numbers a model computes: devices, bf16, and what must stay float32."""

from __future__ import annotations

import re

import torch
from torch import nn

from twinlens.errors import ConfigError
from twinlens.model.clip import CLIP

_DEVICE = re.compile(r"cpu|cuda(:\d+)?|mps(:0)?")


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else Apple's, else the processor.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ConfigError: This machine has no such device, or it does not answer.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not _DEVICE.fullmatch(name):
        raise ConfigError(f"device: got {name!r}, expected auto, cpu, cuda, cuda:N or mps")
    here = _devices()
    if name not in here:
        raise ConfigError(
            f"device: got {name!r}, expected what this machine has: {', '.join(here)}"
        )
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:80]
        raise ConfigError(f"device: got {name!r}, which does not answer: {reason}") from error
    return torch.device(name)


def _devices() -> list[str]:
    """What torch can compute on here; "mps:0" is how tensors there call it."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found += ["mps", "mps:0"]
    return found


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def place(model: CLIP, device: torch.device, dtype: torch.dtype) -> CLIP:
    """Put a model in place, convolutions with their channels last; returns the same model.

    The scale and batch norms stay float32: on bf16's coarse steps a learned temperature stands
    still and running sums stop growing.
    """
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for tower in model.towers():
        tower.to(dtype)
        for module in tower.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.float()
    return model
