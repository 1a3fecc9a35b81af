"""OpenVINO, imported without its telemetry, which reports over the network.

Only what computes or exports with OpenVINO imports this module.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import Any

from twinlens.errors import ConfigError

_OLDEST = (2026, 1)

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


openvino = _import_silently("openvino")
require_version(openvino.__version__)
ops = _import_silently("openvino.opset15")
"""Functions that make the nodes of a graph."""


@cache
def shared_core() -> Any:
    """The one `openvino.Core` of the process: each loads the plugin of the processor again."""
    return openvino.Core()
