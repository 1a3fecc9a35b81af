"""Devices by name: those that torch computes on here, and a short line for any other."""

import pytest
import torch

from twinlens.errors import ConfigError
from twinlens.model.precision import pick_device


def test_the_processor_is_always_there():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(str(pick_device("auto"))) == pick_device("auto")


@pytest.mark.parametrize("name", ["meta", "gpu", "xpu", "cpu:0", "cuda:", "cuda:x", "CUDA", ""])
def test_other_kinds_of_device_are_refused(name: str):
    with pytest.raises(ConfigError) as caught:
        pick_device(name)
    expected = f"device: got {name!r}, expected auto, cpu, cuda, cuda:N or mps"
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "mps"])
def test_a_device_that_is_not_here_is_one_short_line(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        pick_device(name)
    assert str(caught.value) == f"device: got {name!r}, expected what this machine has: cpu"


def test_a_device_that_does_not_answer_is_one_short_line(monkeypatch: pytest.MonkeyPatch):
    def busy(*_: object, **__: object) -> None:
        raise RuntimeError(f"CUDA error: busy {'or so ' * 99}\nand more")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "empty", busy)
    with pytest.raises(ConfigError, match=r"got 'cuda:0', which does not answer: CUDA error") as it:
        pick_device("cuda:0")
    assert len(str(it.value)) < 150
    with pytest.raises(ConfigError, match=r"what this machine has: cpu, cuda, cuda:0$"):
        pick_device("cuda:1")
