"""The engine of a run, and what it reaches."""

import importlib.metadata
from collections.abc import Sequence

import pytest
import torch

from twinlens.benchmark import engines
from twinlens.benchmark.engines import (
    choose_engine,
    device_name,
    fast_precisions,
    measure_peak_flops,
    num_threads,
    peak_memory,
    runtime_version,
)
from twinlens.errors import ConfigError, MissingExtraError, UnknownNameError
from twinlens.hardware import usable_cpu_count
from twinlens.types import EngineChoice, EngineName, Precision


@pytest.mark.parametrize(
    ("engine", "precisions", "expected"),
    [
        ("auto", ("auto",), "openvino"),
        ("auto", ("fp32", "bf16"), "openvino"),
        ("auto", ("fp32", "int8"), "torch"),
        ("openvino", ("bf16",), "openvino"),
        ("torch", ("fp32",), "torch"),
    ],
)
def test_one_engine_measures_all_precisions(
    engine: EngineChoice, precisions: Sequence[Precision], expected: str
):
    assert choose_engine(engine, "cpu", precisions) == (expected, "cpu")


def test_what_an_engine_lacks_is_said():
    with pytest.raises(ConfigError, match="got 'openvino' and precision='int8'"):
        choose_engine("openvino", "cpu", ["fp32", "int8"])
    with pytest.raises(ConfigError, match="'cuda' for the openvino engine, expected cpu"):
        choose_engine("openvino", "cuda", ["fp32"])
    with pytest.raises(UnknownNameError, match="unknown precision 'int9'"):
        choose_engine("openvino", "cpu", ["int9"])


def test_torch_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert choose_engine("auto", "cpu", ["fp32"]) == ("openvino", "cpu")
    with pytest.raises(MissingExtraError, match="torch is not installed"):
        choose_engine("auto", "cpu", ["int8"])


def test_precisions_of_openvino(monkeypatch: pytest.MonkeyPatch):
    for is_fast, expected in ((False, ("fp32",)), (True, ("fp32", "bf16"))):
        monkeypatch.setattr(
            "twinlens.inference.openvino_engine.has_fast_bf16", lambda is_fast=is_fast: is_fast
        )
        assert fast_precisions("openvino", "cpu") == expected


def test_precisions_of_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("twinlens.model.precision.has_fast_bf16", lambda device: False)
    assert fast_precisions("torch", "cpu") == ("fp32", "int8")
    monkeypatch.setattr("twinlens.model.precision.has_fast_bf16", lambda device: True)
    monkeypatch.setattr("twinlens.model.precision.has_fast_fp16", lambda device: True)
    assert fast_precisions("torch", "cuda:0") == ("fp32", "bf16", "fp16")


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_measured_peak_is_one_of_a_processor(engine: EngineName, precision: Precision):
    assert 1e8 < measure_peak_flops(engine, "cpu", precision) < 1e15


def test_a_product_of_openvino_is_one():
    for precision in ("fp32", "bf16"):
        request = engines._openvino_product(precision)
        request.infer()
        found = request.get_output_tensor().data.ravel()[:2]
        assert found.tobytes() == _bytes_of(1024, precision)


def _bytes_of(number: float, precision: Precision) -> bytes:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return torch.full((2,), number, dtype=dtype).view(torch.uint8).numpy().tobytes()


def test_the_runtime_and_the_processor():
    assert runtime_version("openvino") == importlib.metadata.version("openvino")
    assert runtime_version("torch") == torch.__version__
    assert num_threads("openvino") == usable_cpu_count()
    assert num_threads("torch") == torch.get_num_threads()
    assert device_name("cpu")
    assert peak_memory("cpu") > 1e7
