"""OpenVINO, imported without its telemetry, which reports over the network.

The package is an extra: only what asks for OpenVINO imports this module.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_REPORTER = "openvino_telemetry"


def _import_silently(name: str) -> Any:
    is_blocked = _REPORTER not in sys.modules
    if is_blocked:
        sys.modules[_REPORTER] = None  # pyright: ignore[reportArgumentType]  its import fails
    try:
        return importlib.import_module(name)
    finally:
        if is_blocked:
            del sys.modules[_REPORTER]


openvino = _import_silently("openvino")
ops = _import_silently("openvino.opset15")
"""Functions that make the nodes of a graph."""
