"""CLIP: images and words in one embedding space.

Importing this package is light: torch is imported when a name that needs it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from twinlens.errors import MissingExtraError

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder, Prediction
    from twinlens.embed.loading import available_models, load
    from twinlens.model import presets
    from twinlens.model.clip import CLIP
    from twinlens.search.index import Index
    from twinlens.text.clip_bpe import tokenize

__version__ = "0.1.0"

_HOME = {
    "load": "twinlens.embed.loading",
    "Embedder": "twinlens.embed.embedder",
    "Prediction": "twinlens.embed.embedder",
    "Index": "twinlens.search.index",
    "available_models": "twinlens.embed.loading",
    "tokenize": "twinlens.text.clip_bpe",
    "CLIP": "twinlens.model.clip",
}

__all__ = [
    "CLIP",
    "Embedder",
    "Index",
    "Prediction",
    "available_models",
    "load",
    "presets",
    "tokenize",
]


def __getattr__(name: str) -> Any:
    if name == "presets":
        return import_module("twinlens.model.presets")
    if name in _HOME:
        try:
            return getattr(import_module(_HOME[name]), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingExtraError("torch", "torch") from error
    raise AttributeError(f"module 'twinlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
