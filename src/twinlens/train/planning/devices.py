"""Devices to plan for and to measure against: what they reach at most, hold and cost."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model.device import measured_peak, total_memory
from twinlens.model.precision import has_fast_bf16, pick_device

GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device.

    Attributes:
        name: What it is called here.
        bf16_tflops: Peak of dense bf16 matrix products, 10^12 operations a second; 0 where it
            is not native.
        fp32_tflops: Peak of float32 matrix products.
        memory_gb: In 10^9 bytes.
        price: Of an hour, in US dollars.
        note: What a plan must say of it.
    """

    name: str
    bf16_tflops: float
    fp32_tflops: float
    memory_gb: float
    price: float
    note: str = ""

    def peak(self, dtype: torch.dtype) -> float:
        """Operations a second in that type; emulated bf16 is no faster than float32."""
        native = dtype == torch.bfloat16 and self.bf16_tflops
        return 1e12 * (self.bf16_tflops if native else self.fp32_tflops)


# Peaks and memory: the vendor's data sheets, dense figures (half of those "with sparsity"), SXM
# boards where there are several. Prices: round figures of renting one on demand; they differ
# several times over between providers, and are there to be replaced by one's own.
KNOWN: dict[str, Device] = {
    device.name: device
    for device in (
        Device(
            name="V100",
            bf16_tflops=0,
            fp32_tflops=15.7,
            memory_gb=34,
            price=2.0,
            note="V100 has no bf16 and computes in float32; its 125 TFLOP/s are of float16, "
            "which twinlens does not train in",
        ),
        Device(name="A100-40", bf16_tflops=312, fp32_tflops=19.5, memory_gb=42, price=2.0),
        Device(name="A100-80", bf16_tflops=312, fp32_tflops=19.5, memory_gb=85, price=2.5),
        Device(name="H100", bf16_tflops=989, fp32_tflops=67, memory_gb=85, price=4.0),
        Device(name="H200", bf16_tflops=989, fp32_tflops=67, memory_gb=151, price=5.0),
        Device(name="L4", bf16_tflops=121, fp32_tflops=30.3, memory_gb=24, price=0.8),
        Device(name="RTX4090", bf16_tflops=165, fp32_tflops=82.6, memory_gb=25, price=0.5),
    )
}
HERE = ("auto", "cpu", "cuda", "mps")
"""Names of what this machine has: measured, not looked up."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some devices of one kind, among which a batch is shared."""

    count: int
    device: Device

    @property
    def name(self) -> str:
        """As in `--devices`."""
        return f"{self.count}x{self.device.name}"


def parse_groups(text: str) -> list[Group]:
    """Groups from text such as "256xV100,8xH100".

    Raises:
        ConfigError: A part is not COUNTxNAME, or names what this machine does not have.
        UnknownNameError: There is no such device; close names are suggested.
    """
    return [_parse_group(part.strip()) for part in text.split(",")]


def _parse_group(part: str) -> Group:
    match = re.fullmatch(r"(?:(\d+)x)?([A-Za-z].*)", part)
    if match is None or match[1] == "0":
        raise ConfigError(f"--devices: got {part!r}, expected COUNTxNAME, such as 8xH100")
    count, name = int(match[1] or 1), match[2]
    if name in HERE:
        return Group(count, measured(pick_device(name)))
    if name not in KNOWN:
        raise UnknownNameError("device", name, [*KNOWN, *HERE])
    return Group(count, KNOWN[name])


def measured(device: torch.device) -> Device:
    """A device of this machine, its peaks measured by a matrix product."""
    bf16 = measured_peak(device, torch.bfloat16) if has_fast_bf16(device) else 0.0
    fp32 = measured_peak(device, torch.float32)
    return Device(
        name=device.type,
        bf16_tflops=bf16 / 1e12,
        fp32_tflops=fp32 / 1e12,
        memory_gb=total_memory(device) / GB,
        price=0.0,
        note=f"{device.type}: the peak is what a large matrix product reaches on this machine now",
    )


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """What the device of a run reaches at most: by its data sheet if it is known, else measured.

    A data sheet is known to give more than any program reaches, so that the utilisation of a
    known device is the smaller figure; it is the one that the field quotes.
    """
    if device.type == "cuda" and (known := known_by(torch.cuda.get_device_name(device))):
        return known.peak(dtype)
    return measured_peak(device, dtype)


def known_by(full_name: str) -> Device | None:
    """The known device that a driver calls, say, "NVIDIA A100-SXM4-80GB".

    Example:
        >>> known_by("NVIDIA H100 80GB HBM3").name, known_by("NVIDIA T4")
        ('H100', None)
    """
    words = re.split(r"[\s-]+", full_name.replace("RTX 4090", "RTX4090"))
    return next((device for name, device in KNOWN.items() if name.split("-")[0] in words), None)
