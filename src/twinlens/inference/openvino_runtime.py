"""OpenVINO, imported without its converter of models, which it can do without.

The converter brings a telemetry that reports over the network, and is a third of the time and of
the memory that the import takes. It is imported when a program asks for `openvino.convert_model`.

Only what computes or exports with OpenVINO imports this module.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

from twinlens.errors import ConfigError

_OLDEST = (2026, 1)

_TOOLS = "openvino.tools"
_CONVERTER = f"{_TOOLS}.ovc"


def _import_openvino() -> Any:
    if "openvino" in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[_CONVERTER] = None  # pyright: ignore[reportArgumentType]  its import fails
    try:
        module = importlib.import_module("openvino")
    finally:
        del sys.modules[_CONVERTER]
    module.__getattr__ = _import_converter_for  # pyright: ignore[reportAttributeAccessIssue]
    return module


def _import_converter_for(name: str) -> Any:
    """An attribute of `openvino` that its converter brings: for other code of the process."""
    if name in ("convert_model", "tools"):
        try:
            converter = importlib.import_module(_CONVERTER)
        except ImportError as error:
            raise AttributeError(f"module 'openvino' has no attribute {name!r}") from error
        return converter.convert_model if name == "convert_model" else sys.modules[_TOOLS]
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


def require_version(found: str) -> None:
    """Refuse versions of OpenVINO that are older than those tested.

    Raises:
        ConfigError: It is older.
    """
    numbers = tuple(int(word) for word in found.split("-", maxsplit=1)[0].split(".")[:2])
    if numbers < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ConfigError(
            f"openvino: got {found}, expected {oldest} or later: "
            f"run  pip install 'openvino>={oldest}', or take engine='torch'"
        )


openvino = _import_openvino()
require_version(openvino.__version__)
ops = importlib.import_module("openvino.opset15")
"""Functions that make the nodes of a graph."""


@cache
def shared_core() -> Any:
    """The one `openvino.Core` of the process: each loads the plugin of the processor again."""
    return openvino.Core()
