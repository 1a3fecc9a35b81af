"""Where and in what numbers a model computes: devices, bf16, 8 bits, and what must stay float32."""

from __future__ import annotations

import re
from typing import get_args

import torch
from torch import nn

from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model.clip import CLIP
from twinlens.model.int8 import is_int8, is_quantised, quantise_int8
from twinlens.model.layers import TransformerBlock
from twinlens.types import Precision

BF16_MIN_PARAMETERS = 50_000_000
"""Smaller models stay in float32: in bf16, `icons` takes one name of a hundred otherwise."""

_DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.float32,  # products of integers are float32 anyway
    "int8-weights": torch.bfloat16,  # for little memory
}

_DEVICE_PATTERN = re.compile(r"cpu|cuda(:\d+)?|mps(:0)?")


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
    if not _DEVICE_PATTERN.fullmatch(name):
        raise ConfigError(f"device: got {name!r}, expected auto, cpu, cuda, cuda:N or mps")
    here = _available_devices()
    if name not in here:
        raise ConfigError(
            f"device: got {name!r}, expected what this machine has: {', '.join(here)}"
        )
    try:
        return torch.empty(0, device=name).device  # "cuda" is one of several: "cuda:0"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:80]
        raise ConfigError(f"device: got {name!r}, which does not answer: {reason}") from error


def _available_devices() -> list[str]:
    """What torch can compute on here; "mps:0" is how tensors there call it."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found += ["mps", "mps:0"]
    return found


def has_fast_bf16(device: torch.device) -> bool:
    """True if the device multiplies bf16 natively; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def has_fast_fp16(device: torch.device) -> bool:
    """True if the device multiplies fp16 in its matrix units (GPUs do from Volta on)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)


def pick_precision(precision: Precision, model: CLIP, device: torch.device) -> Precision:
    """The precision of that name; "auto" is what is fastest within a cosine of 0.999 of fp32.

    Raises:
        UnknownNameError: There is none of that name.
        ConfigError: The device has no products of 8 bits.
    """
    if precision not in get_args(Precision):
        raise UnknownNameError("precision", precision, get_args(Precision))
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
    """What the towers' numbers are in a precision, those in 8 bits aside."""
    return _DTYPES[precision]


def prepare_model(model: CLIP, device: torch.device, precision: Precision) -> CLIP:
    """Put a model in place and in a precision; returns the same model.

    Raises:
        ConfigError: It is in 8 bits already: what was rounded off does not come back.
    """
    if is_quantised(model):
        raise ConfigError(f"precision: got {precision!r} for a model in 8 bits, expected its own")
    if precision.startswith("int8"):  # first: they are rounded once
        for tower in model.towers():
            quantise_int8(tower, quantise_activations=precision == "int8")
    return move_model(model, device, dtype_of(precision))


def is_prepared(model: CLIP, device: torch.device, precision: Precision) -> bool:
    """True if `prepare_model` would leave the model as it is."""
    types = {next(tower.parameters()).dtype for tower in model.towers()}
    if model.logit_scale.device != device or types != {dtype_of(precision)}:
        return False
    kinds = [("int8", True), ("int8-weights", False)]
    found = [name for name, whole in kinds if is_int8(model, quantised_activations=whole)]
    has_blocks = any(isinstance(module, TransformerBlock) for module in model.modules())
    return found == [precision] * (precision.startswith("int8") and has_blocks)


def move_model(model: CLIP, device: torch.device, dtype: torch.dtype) -> CLIP:
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
