"""Devices and precisions of a model: bf16, fp16, 8 bits, and what must stay in float32."""

from __future__ import annotations

import re
from typing import get_args

import torch
from torch import nn

from twinlens.errors import ConfigError, require, require_known
from twinlens.model.clip import CLIP
from twinlens.model.int8 import int8_precision, quantise_int8
from twinlens.model.layers import TransformerBlock
from twinlens.types import BF16_MIN_PARAMETERS, Precision

_DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,  # the integer products give float32
    "int8-weights": torch.bfloat16,  # to save memory
}

_DEVICE_PATTERN = re.compile(r"cpu|cuda(:\d+)?|mps(:0)?")


def pick_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is CUDA, else Apple's GPU, else the CPU.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ConfigError: This machine has no such device, or it does not answer.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    require(_DEVICE_PATTERN.fullmatch(name), "device", name, "auto, cpu, cuda, cuda:N or mps")
    available = _available_devices()
    require(name in available, "device", name, f"what this machine has: {', '.join(available)}")
    try:
        return torch.empty(0, device=name).device  # "cuda" is one of several: "cuda:0"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:80]
        raise ConfigError(f"device: got {name!r}, which does not answer: {reason}") from error


def _available_devices() -> list[str]:
    """List the devices of this machine; "mps:0" is the name that tensors there have."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names += ["mps", "mps:0"]
    return names


def has_fast_bf16(device: torch.device) -> bool:
    """True if the device multiplies bf16 natively; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def has_fast_fp16(device: torch.device) -> bool:
    """True if the device multiplies fp16 in its matrix units (GPUs do from Volta on)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)


def pick_precision(precision: Precision, model: CLIP, device: torch.device) -> Precision:
    """Return the precision of a name; "auto" is the fastest within a cosine of 0.999 of fp32.

    Raises:
        UnknownNameError: There is no such precision.
        ConfigError: The device cannot compute in 8 bits.
    """
    require_known("precision", precision, get_args(Precision))
    if precision.startswith("int8") and device.type != "cpu":
        raise ConfigError(f"precision: got {precision!r} on {device}, expected it on a processor")
    if precision != "auto":
        return precision
    size = sum(parameter.numel() for parameter in model.parameters())
    if size <= BF16_MIN_PARAMETERS:
        return "fp32"
    if has_fast_bf16(device):
        return "bf16"
    return "fp16" if has_fast_fp16(device) else "fp32"


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the dtype of the towers in a precision, apart from layers in 8 bits."""
    return _DTYPES[precision]


def prepare_model(model: CLIP, device: torch.device, precision: Precision) -> CLIP:
    """Move a model to a device and a precision; returns the same model.

    Raises:
        ConfigError: The model is in 8 bits already, which cannot be undone.
    """
    if int8_precision(model):
        raise ConfigError(f"precision: got {precision!r} for a model in 8 bits, expected its own")
    if precision.startswith("int8"):  # before the dtype changes: weights are rounded once
        for tower in model.towers():
            quantise_int8(tower, quantise_activations=precision == "int8")
    return move_model(model, device, dtype_of(precision))


def is_prepared(model: CLIP, device: torch.device, precision: Precision) -> bool:
    """True if `prepare_model` would leave the model as it is."""
    types = {next(tower.parameters()).dtype for tower in model.towers()}
    if model.logit_scale.device != device or types != {dtype_of(precision)}:
        return False
    has_blocks = any(isinstance(module, TransformerBlock) for module in model.modules())
    return int8_precision(model) == (
        precision if precision.startswith("int8") and has_blocks else None
    )


def move_model(model: CLIP, device: torch.device, dtype: torch.dtype) -> CLIP:
    """Move a model to a device and a dtype, in channels-last layout; returns the same model.

    `logit_scale` and batch norms stay in float32: in bf16 the steps of a learned temperature
    round to nothing, and running statistics stop growing.
    """
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for tower in model.towers():
        tower.to(dtype)
        for module in tower.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.float()
    return model
