# ruff: noqa: PLC0415  an engine imports its own runtime alone, and torch may not be installed
"""The engine of a benchmark, and what it reaches: precisions, peak FLOP/s, memory, threads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np

from twinlens.errors import MissingExtraError, require_known
from twinlens.hardware import peak_process_memory, processor_name, usable_cpu_count
from twinlens.inference.engine_choice import pick_engine
from twinlens.types import EngineChoice, EngineName, Precision

PRODUCT_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
"""Precisions in which matrix products are measured."""

_SIDE = 1024
"""Rows and columns of the matrices that OpenVINO multiplies."""

_REPEATS = 4


def choose_engine(
    engine: EngineChoice, device: str, precisions: Sequence[Precision]
) -> tuple[EngineName, str]:
    """Choose the one engine of a run, and its device: "cpu", "cuda:0".

    Args:
        engine: "auto" is OpenVINO on a processor, unless a precision is one that only torch has.
        device: As in `twinlens.load`.
        precisions: All that are measured.

    Raises:
        UnknownNameError: There is no such precision.
        ConfigError: The engine lacks the device or a precision, or the machine lacks the device.
        MissingExtraError: torch is needed and not installed.
    """
    for precision in precisions:
        require_known("precision", precision, get_args(Precision))
    names = {pick_engine(engine, device, precision, compiled=False) for precision in precisions}
    if "torch" not in names:
        return "openvino", "cpu"
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "torch")
    from twinlens.model.precision import pick_device

    return "torch", str(pick_device(device))


def fast_precisions(engine: EngineName, device: str) -> tuple[Precision, ...]:
    """The precisions that may be fast in an engine on its device."""
    if engine == "torch":
        return _fast_in_torch(device)
    from twinlens.inference.openvino_engine import has_fast_bf16

    return ("fp32", "bf16") if has_fast_bf16() else ("fp32",)


def _fast_in_torch(device: str) -> tuple[Precision, ...]:
    import torch

    from twinlens.model.precision import has_fast_bf16, has_fast_fp16

    worth: dict[Precision, bool] = {
        "fp32": True,
        "bf16": has_fast_bf16(torch.device(device)),
        "fp16": has_fast_fp16(torch.device(device)),
        "int8": device == "cpu",
    }
    return tuple(precision for precision in worth if worth[precision])


def measure_peak_flops(engine: EngineName, device: str, precision: Precision) -> float:
    """FLOP/s of a large matrix product: the best of a few, in well under a second.

    Args:
        engine: The runtime that multiplies.
        device: Its device.
        precision: One of `PRODUCT_PRECISIONS` that the engine has.
    """
    if engine == "torch":
        import torch

        from twinlens.inference import device as torch_device
        from twinlens.model.precision import dtype_of

        return torch_device.measure_peak_flops(torch.device(device), dtype_of(precision))
    request = _openvino_product(precision)
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        request.infer()
        best = min(best, time.perf_counter() - start)
    return 2 * _SIDE**3 / best


@cache
def _openvino_product(precision: Precision) -> Any:
    """A request that multiplies two square matrices in a precision, compiled once.

    What goes in and out has that precision too: converting it would take as long as the product.
    """
    from twinlens.inference.openvino_engine import PRECISIONS, compile_settings
    from twinlens.inference.openvino_layers import BFLOAT16, FLOAT32
    from twinlens.inference.openvino_runtime import openvino, ops, shared_core

    ones = np.ones((_SIDE, _SIDE), BFLOAT16 if precision == "bf16" else FLOAT32)
    kind = getattr(openvino.Type, PRECISIONS[precision])
    square = openvino.Tensor(kind, openvino.Shape(ones.shape))
    # OpenVINO shows bfloat16 to NumPy as another type of as many bytes.
    square.data.view(f"u{ones.itemsize}")[...] = ones.view(f"u{ones.itemsize}")
    left, right = ops.parameter(ones.shape, kind), openvino.op.Constant(square, False)
    graph = openvino.Model([ops.matmul(left, right, False, False)], [left])
    compiled = shared_core().compile_model(graph, "CPU", compile_settings(precision))
    request = compiled.create_infer_request()
    request.set_input_tensor(square)
    return request


def num_threads(engine: EngineName) -> int:
    """Threads that an engine computes with on a processor."""
    if engine == "openvino":
        return usable_cpu_count()
    import torch

    return torch.get_num_threads()


def runtime_version(engine: EngineName) -> str:
    """The version of an engine's runtime."""
    if engine == "openvino":
        from twinlens.inference.openvino_runtime import openvino

        return openvino.__version__.partition("-")[0]
    import torch

    return torch.__version__


def device_name(device: str) -> str:
    """The maker's name of a device."""
    if device == "cpu":
        return processor_name()
    import torch

    from twinlens.inference import device as torch_device

    return torch_device.device_name(torch.device(device))


def peak_memory(device: str) -> float:
    """Most bytes that this process has held: of the device, or of the machine for a processor."""
    if device == "cpu":
        return peak_process_memory()
    import torch

    from twinlens.inference import device as torch_device

    return torch_device.peak_memory(torch.device(device))
