"""A model without memory: names and shapes, before any weights are read."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from twinlens.config import CLIPConfig
from twinlens.errors import ConfigError
from twinlens.model.clip import CLIP


def meta_model(config: CLIPConfig) -> CLIP:
    """A model without memory: its names and shapes.

    Raises:
        ConfigError: A size is larger than that of any tensor.
    """
    try:
        with torch.device("meta"), _WithoutInitialisation():
            return CLIP(config)
    except (RuntimeError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        got = str(error).partition("\n")[0]
        raise ConfigError(
            f"sizes: got too large ones ({got}), expected those of weights"
        ) from error


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves new parameters as they are.

    Drawing numbers for a model without memory would import torch's compiler, for a second.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
