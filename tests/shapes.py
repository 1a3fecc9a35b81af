"""The shapes in signatures, checked while tests run."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray

HOOKED = [
    "twinlens.model",
    "twinlens.checkpoints",
    "twinlens.train",
    "twinlens.images",
    "twinlens.data",
    "twinlens.eval",
    "twinlens.search",
    "twinlens.benchmark",
    "twinlens.embed",
    "twinlens.inference",
    "twinlens.export.towers",
    "twinlens.html",
    "twinlens.text",
    "twinlens.distributed.collectives",
]
"""Where there are tensors: modules, or packages with all that is in them."""


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Beartype for the annotations that hold a shape.

    The others are pyright's: tests pass things of a wrong type on purpose, to see our own errors.
    """
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if has_shape(hint)}
    return beartype(function)


def has_shape(hint: object) -> bool:
    """Whether an annotation is, or has in it, one of jaxtyping's."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(has_shape, get_args(hint)))
