"""Devices: peak FLOPS, memory and price, from data sheets or measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from twinlens.errors import ConfigError, UnknownNameError
from twinlens.inference.device import measure_peak_flops, total_memory
from twinlens.model.precision import has_fast_bf16, pick_device

GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """The peak, memory and price of one kind of device.

    Attributes:
        name: Name in `--devices`.
        bf16_tflops: Peak of dense bf16 matrix products, 10^12 operations a second; 0 if bf16 is
            not native.
        fp32_tflops: Peak of float32 matrix products, in the same unit.
        memory_gb: In 10^9 bytes.
        price_per_hour: In US dollars.
        note: A remark for plans with this device.
    """

    name: str
    bf16_tflops: float
    fp32_tflops: float
    memory_gb: float
    price_per_hour: float
    note: str = ""

    def peak_flops(self, dtype: torch.dtype) -> float:
        """Peak operations a second in a dtype; emulated bf16 is no faster than float32."""
        native = dtype == torch.bfloat16 and self.bf16_tflops
        return 1e12 * (self.bf16_tflops if native else self.fp32_tflops)


# Peaks and memory: the vendor's data sheets, dense figures (half of those "with sparsity"), SXM
# boards if there are several. Prices: round figures of renting one on demand; they differ several
# times over between providers, and should be replaced by one's own.
KNOWN_DEVICES: dict[str, DeviceSpec] = {
    device.name: device
    for device in (
        DeviceSpec(
            name="V100",
            bf16_tflops=0,
            fp32_tflops=15.7,
            memory_gb=34,
            price_per_hour=2.0,
            note="V100 has no bf16 and computes in float32; its 125 TFLOP/s are of float16, "
            "which twinlens does not train in",
        ),
        DeviceSpec(
            name="A100-40", bf16_tflops=312, fp32_tflops=19.5, memory_gb=42, price_per_hour=2.0
        ),
        DeviceSpec(
            name="A100-80", bf16_tflops=312, fp32_tflops=19.5, memory_gb=85, price_per_hour=2.5
        ),
        DeviceSpec(name="H100", bf16_tflops=989, fp32_tflops=67, memory_gb=85, price_per_hour=4.0),
        DeviceSpec(name="H200", bf16_tflops=989, fp32_tflops=67, memory_gb=151, price_per_hour=5.0),
        DeviceSpec(name="L4", bf16_tflops=121, fp32_tflops=30.3, memory_gb=24, price_per_hour=0.8),
        DeviceSpec(
            name="RTX4090", bf16_tflops=165, fp32_tflops=82.6, memory_gb=25, price_per_hour=0.5
        ),
    )
}
LOCAL_DEVICES = ("auto", "cpu", "cuda", "mps")
"""Names of devices of this machine, which are measured and not looked up."""


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Several devices of one kind that share a batch."""

    count: int
    device: DeviceSpec

    @property
    def name(self) -> str:
        """The group as in `--devices`, such as 8xH100."""
        return f"{self.count}x{self.device.name}"


def parse_device_groups(text: str) -> list[DeviceGroup]:
    """Parse device groups such as "256xV100,8xH100".

    Raises:
        ConfigError: A part is not COUNTxNAME, or names a device that this machine does not have.
        UnknownNameError: There is no such device; close names are suggested.
    """
    return [_parse_device_group(part.strip()) for part in text.split(",")]


def _parse_device_group(part: str) -> DeviceGroup:
    match = re.fullmatch(r"(?:(\d+)x)?([A-Za-z].*)", part)
    if match is None or match[1] == "0":
        raise ConfigError(f"--devices: got {part!r}, expected COUNTxNAME, such as 8xH100")
    count, name = int(match[1] or 1), match[2]
    if name in LOCAL_DEVICES:
        return DeviceGroup(count, measure_device(pick_device(name)))
    if name not in KNOWN_DEVICES:
        raise UnknownNameError("device", name, [*KNOWN_DEVICES, *LOCAL_DEVICES])
    return DeviceGroup(count, KNOWN_DEVICES[name])


def measure_device(device: torch.device) -> DeviceSpec:
    """Measure the peaks of a device of this machine by a matrix product."""
    bf16 = measure_peak_flops(device, torch.bfloat16) if has_fast_bf16(device) else 0.0
    fp32 = measure_peak_flops(device, torch.float32)
    return DeviceSpec(
        name=device.type,
        bf16_tflops=bf16 / 1e12,
        fp32_tflops=fp32 / 1e12,
        memory_gb=total_memory(device) / GB,
        price_per_hour=0.0,
        note=f"{device.type}: the peak is what a large matrix product reaches on this machine now",
    )


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Peak FLOPS of a device: from its data sheet if it is known, else measured.

    Data sheets give more than any program reaches, so that the utilisation of a known device is
    lower than that of a measured one; it is the figure that the field quotes.
    """
    if device.type == "cuda" and (known := find_known_device(torch.cuda.get_device_name(device))):
        return known.peak_flops(dtype)
    return measure_peak_flops(device, dtype)


def find_known_device(driver_name: str) -> DeviceSpec | None:
    """Find the known device of a driver's name such as "NVIDIA A100-SXM4-80GB".

    Example:
        >>> find_known_device("NVIDIA H100 80GB HBM3").name, find_known_device("NVIDIA T4")
        ('H100', None)
    """
    words = re.split(r"[\s-]+", driver_name.replace("RTX 4090", "RTX4090"))
    return next(
        (device for name, device in KNOWN_DEVICES.items() if name.split("-")[0] in words), None
    )
