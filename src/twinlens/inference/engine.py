"""`Engine`: what an embedder needs of the runtime that computes its towers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config import CLIPConfig
from twinlens.errors import ConfigError, ShapeError
from twinlens.types import Embeddings, EngineName, Precision

HIDDEN_TEXT_BATCH = 32
"""Texts whose hidden states are computed at a time: they have every position of the context."""

_MAX_ASPECT_RATIO = 50
"""Times as long as wide that images may be: what is resized is mostly cut off."""


class Engine(Protocol):
    """The towers of a model on one device, in one precision.

    Attributes:
        name: The runtime.
        device: The device, as torch names it: "cpu", "cuda:0".
        precision: The precision of the towers.
    """

    name: EngineName
    device: str
    precision: Precision

    @property
    def config(self) -> CLIPConfig:
        """The configuration of the towers that were read."""
        ...

    @property
    def logit_scale(self) -> float:
        """The inverse temperature, not its log."""
        ...

    def encode_images(
        self, batches: Iterable[UInt8[np.ndarray, "batch size size 3"]], output: str
    ) -> NDArray[np.float32]:
        """Encode batches of decoded images of the model's size.

        Args:
            batches: Pixels in 0..255.
            output: "embedding" gives unit vectors; "features" the input of a linear probe;
                "patches" and "hidden:N" see `Embedder.encode`.
        """
        ...

    def embed_pixels(self, pixels: UInt8[Any, "n 3 height width"]) -> Embeddings:
        """Embed pixels that are decoded already; those of another size are resized.

        Raises:
            ShapeError: See `check_pixel_batch`.
        """
        ...

    def encode_texts(
        self, tokens: Int64[np.ndarray, "n context"], output: str, batch_size: int
    ) -> NDArray[np.float32]:
        """Encode rows of token ids: "embedding", of equal rows once, or "hidden:N"."""
        ...

    def project(self, features: Float32[np.ndarray, "n width"]) -> Embeddings:
        """Project the features of a linear probe: unit vectors."""
        ...

    def tower_weights(self, name: str) -> Mapping[str, Array]:
        """The weights of the "image" or the "text" tower by our names, as arrays."""
        ...

    def torch_model(self) -> Any:
        """The torch model of these weights: a `CLIP`."""
        ...


def check_pixel_batch(pixels: Any) -> None:
    """Make sure that decoded images are what `Engine.embed_pixels` takes.

    Raises:
        ShapeError: They are no array or tensor, not uint8, have another shape, or are thin.
    """
    if not hasattr(pixels, "dtype") or not hasattr(pixels, "shape"):
        raise ShapeError(f"pixels: got {type(pixels).__name__}, expected an array or a tensor")
    dtype = str(pixels.dtype).removeprefix("torch.")
    if dtype != "uint8" or len(pixels.shape) != 4 or pixels.shape[1] != 3:
        raise ShapeError(
            f"pixels: got {dtype} {list(pixels.shape)}, expected uint8 [n, 3, height, width]"
        )
    height, width = pixels.shape[2:]
    if not 1 <= max(height, width) <= _MAX_ASPECT_RATIO * min(height, width):
        raise ShapeError(
            f"pixels: got {height} x {width}, expected sides of at least 1, "
            f"the longer at most {_MAX_ASPECT_RATIO} times the shorter"
        )


def require_tower(config: CLIPConfig, name: Literal["image", "text"]) -> None:
    """Make sure that a tower was loaded.

    Raises:
        ConfigError: It was not.
    """
    if (config.vision if name == "image" else config.text) is None:
        raise ConfigError(
            f"{name}s: the model was loaded without its {name} tower, "
            f"expected towers='both' or towers={name!r}"
        )


def unit_vectors(features: Float32[np.ndarray, "n embed"]) -> Embeddings:
    """Divide rows by their lengths, or by 1e-12 where they are shorter."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.float32(1e-12))
