"""What this machine has and reaches."""

import torch

from twinlens.hardware import peak_process_memory, processor_name
from twinlens.inference.device import device_name, measure_peak_flops, peak_memory, total_memory

CPU = torch.device("cpu")


def test_a_measured_peak_is_one_of_a_processor():
    assert 1e8 < measure_peak_flops(torch.device("cpu"), torch.float32) < 1e15


def test_the_most_memory_was_held_and_is_there():
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    assert held.numel() < peak_memory(CPU) < total_memory(CPU)
    assert peak_memory(CPU) == peak_process_memory()


def test_a_processor_has_a_name():
    assert device_name(CPU) == processor_name() != ""
