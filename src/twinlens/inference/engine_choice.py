"""The engine that answers: OpenVINO on processors, torch on GPUs."""

from __future__ import annotations

import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from twinlens.checkpoints.weights import LazyWeights
from twinlens.errors import ConfigError, MissingExtraError, require, require_known
from twinlens.inference.engine import Engine
from twinlens.types import EngineChoice, EngineName, Precision

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps(:0)?")

_GPU_DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Devices of NVIDIA's and AMD's drivers on Linux, and of Windows' under it."""


def load_engine(
    weights: LazyWeights, engine: EngineChoice, *, device: str, precision: Precision, compiled: bool
) -> Engine:
    """Make the engine of a model; the arguments are those of `twinlens.load`.

    Raises:
        UnknownNameError: There is no such engine.
        ConfigError: The engine has no such device or precision.
        MissingExtraError: torch is needed and not installed.
    """
    require_known("engine", engine, get_args(EngineChoice))
    require_known("precision", precision, get_args(Precision))
    if pick_engine(engine, device, precision, compiled=compiled) == "openvino":
        from twinlens.inference.compiled_cache import (  # noqa: PLC0415  a second of imports
            CompiledCache,
            default_compiled_dir,
        )
        from twinlens.inference.openvino_engine import OpenVINOEngine  # noqa: PLC0415

        try:
            cache = CompiledCache(default_compiled_dir(), weights.place)
        except ConfigError as error:
            warnings.warn(f"{error}; each start compiles again", stacklevel=2)
            cache = None
        return OpenVINOEngine(weights, precision, cache)
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "torch")
    from twinlens.checkpoints.reader import build_model  # noqa: PLC0415
    from twinlens.inference.torch_engine import TorchEngine, prepare_in_place  # noqa: PLC0415

    model, target, chosen = prepare_in_place(build_model(weights.read()), device, precision)
    return TorchEngine(model, device=target, precision=chosen, compiled=compiled)


def pick_engine(
    engine: EngineChoice, device: str, precision: Precision, *, compiled: bool
) -> EngineName:
    """The engine of a name; see `twinlens.load`.

    Raises:
        ConfigError: OpenVINO was asked for what only torch has.
    """
    require(_DEVICE.fullmatch(str(device)), "device", device, "auto, cpu, cuda, cuda:N or mps")
    if engine == "torch":
        return "torch"
    is_torch_s = precision not in ("auto", "fp32", "bf16") or compiled
    if engine == "openvino":
        if device not in ("auto", "cpu"):
            raise ConfigError(
                f"device: got {device!r} for the openvino engine, expected cpu; "
                "engine='torch' has GPUs"
            )
        if is_torch_s:
            got = "compiled=True" if compiled else f"precision={precision!r}"
            raise ConfigError(
                f"engine: got 'openvino' and {got}, expected precision auto, fp32 or bf16, "
                "uncompiled; or engine='torch'"
            )
        return "openvino"
    if is_torch_s or device not in ("auto", "cpu"):
        return "torch"
    return "torch" if device == "auto" and _torch_has_gpu() else "openvino"


def _torch_has_gpu() -> bool:
    """True if torch is installed and has a GPU here; torch is imported where one may be."""
    if not _may_have_gpu() or find_spec("torch") is None:
        return False
    from twinlens.model.precision import pick_device  # noqa: PLC0415

    return pick_device("auto").type != "cpu"


def _may_have_gpu() -> bool:
    """True unless the machine cannot have a GPU that torch knows: importing it takes a second."""
    if sys.platform != "linux":
        return True
    return any(Path(file).exists() for file in _GPU_DRIVER_FILES)
