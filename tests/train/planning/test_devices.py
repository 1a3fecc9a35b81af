"""Devices by name, counted, or of this machine."""

import pytest
import torch

from twinlens.errors import ConfigError, UnknownNameError
from twinlens.train.planning import devices
from twinlens.train.planning.devices import (
    KNOWN_DEVICES,
    find_known_device,
    parse_device_groups,
    peak_flops,
)


def test_groups_are_read_in_order():
    groups = parse_device_groups("256xV100, 8xA100-80,H100")
    assert [(group.count, group.device.name) for group in groups] == [
        (256, "V100"),
        (8, "A100-80"),
        (1, "H100"),
    ]
    assert groups[0].name == "256xV100"


def test_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "measure_peak_flops", lambda device, dtype: 1e11 * dtype.itemsize)
    monkeypatch.setattr(devices, "has_fast_bf16", lambda device: False)
    [group] = parse_device_groups("2xcpu")
    assert (group.device.fp32_tflops, group.device.bf16_tflops) == (0.4, 0)
    assert group.device.peak_flops(torch.bfloat16) == group.device.peak_flops(torch.float32)
    assert group.device.memory_gb > 0.1
    assert "this machine" in group.device.note


@pytest.mark.parametrize("text", ["", "0xH100", "8x", "x8", "8*H100", "H100,,L4"])
def test_what_is_no_group_is_refused(text: str):
    with pytest.raises((ConfigError, UnknownNameError), match=r"expected COUNTxNAME|unknown"):
        parse_device_groups(text)


def test_unknown_devices_suggest_close_ones():
    with pytest.raises(UnknownNameError, match=r"did you mean .*'A100-80'"):
        parse_device_groups("8xA100")
    with pytest.raises(ConfigError, match="device: got 'mps'"):
        parse_device_groups("mps")


@pytest.mark.parametrize(
    ("full_name", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100-40"),  # of the same peak
        ("NVIDIA H200", "H200"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA L4", "L4"),
    ],
)
def test_drivers_names_are_recognised(full_name: str, name: str):
    found = find_known_device(full_name)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("full_name", ["NVIDIA L40S", "NVIDIA T4", "NVIDIA H100X"])
def test_other_names_are_not(full_name: str):
    assert find_known_device(full_name) is None


def test_a_known_gpu_is_looked_up_and_another_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "measure_peak_flops", lambda device, dtype: 7.0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert peak_flops(torch.device("cuda"), torch.bfloat16) == 989e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA T4")
    assert peak_flops(torch.device("cuda"), torch.bfloat16) == 7.0
    assert peak_flops(torch.device("cpu"), torch.float32) == 7.0


def test_the_table_is_plausible():
    for device in KNOWN_DEVICES.values():
        assert device.bf16_tflops == 0 or device.bf16_tflops > device.fp32_tflops
        assert 20 < device.memory_gb < 200
        assert 0 < device.price_per_hour < 20
