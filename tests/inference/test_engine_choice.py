"""Which engine answers."""

from typing import Any

import pytest

import twinlens
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.inference import engine_choice
from twinlens.inference.engine_choice import pick_engine


def pick(engine: Any = "auto", device: str = "auto", precision: Any = "auto", **options: bool):
    return pick_engine(engine, device, precision, compiled=options.get("compiled", False))


def test_processors_answer_in_openvino_and_gpus_in_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_choice, "_torch_has_gpu", lambda: False)
    assert pick() == pick(device="cpu") == pick(precision="bf16") == "openvino"
    assert pick(device="cuda") == pick(device="mps") == "torch"
    assert pick(precision="int8") == pick(compiled=True) == pick("torch") == "torch"
    monkeypatch.setattr(engine_choice, "_torch_has_gpu", lambda: True)
    assert pick() == "torch"
    assert pick(device="cpu") == pick("openvino") == "openvino"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "got 'cuda' for the openvino engine, expected cpu"),
        ({"precision": "int8"}, "got 'openvino' and precision='int8'"),
        ({"compiled": True}, "got 'openvino' and compiled=True"),
    ],
)
def test_what_openvino_has_not(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        pick("openvino", **options)


def test_names_that_there_are_not():
    with pytest.raises(UnknownNameError, match="unknown engine 'onnx'"):
        twinlens.load("icons", engine="onnx")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["engine", "precision", "towers", "decode"])
def test_what_is_no_name_at_all(name: str):
    with pytest.raises(UnknownNameError, match=f"unknown {name} None: known: "):
        twinlens.load("icons", **{name: None})  # pyright: ignore[reportArgumentType]


def test_activations_are_known_and_those_of_the_checkpoint():
    assert twinlens.load("icons", activation="gelu", towers="text").config.text is not None
    with pytest.raises(UnknownNameError, match="unknown activation 'relu'"):
        twinlens.load("icons", activation="relu")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=r"activation: got 'quick_gelu' for .*, expected gelu"):
        twinlens.load("icons", activation="quick_gelu")
