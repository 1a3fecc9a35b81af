"""Names for what is passed around: images as users hand them in, shapes, vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

ImageInput: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.uint8]"
"""An image: a path, an encoded file's bytes, a PIL image, or uint8 [height, width, 3 or 1]."""

Split = Literal["train", "val", "test"]
"""The splits of a data set."""

Decode = Literal["exact", "fast"]
"""How files become pixels: to the last bit as the references do it, or nearly so and sooner."""

Embeddings: TypeAlias = "NDArray[np.float32]"
"""Unit vectors, float32 [n, embed_dim]."""

Fitted: TypeAlias = "tuple[Tensor, int]"
"""Rows of token ids, int64 [text, context_length], and how many of the texts were cut for them."""


class Vocabulary(Protocol):
    """What training asks of a vocabulary, CLIP's kind or SentencePiece's.

    Attributes:
        pad_id: The id that fills a row.
    """

    pad_id: int

    def fitted(self, texts: Sequence[str], context_length: int) -> Fitted:
        """Rows of ids, texts that are too long cut, and how many of them were."""
        ...


class Count(Protocol):
    """Told how much is done, of how much, and what is next."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show it."""
        ...
