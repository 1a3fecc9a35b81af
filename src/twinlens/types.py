"""Names for what is passed around: images as users hand them in, shapes, vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

ImageInput: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.uint8]"
"""An image: a path, an encoded file's bytes, a PIL image, or uint8 [height, width, 3 or 1]."""

Split = Literal["train", "val", "test"]
"""The splits of a data set."""

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8", "int8-weights"]
"""What a model computes in; "auto" picks the fastest accurate one of the device."""

TowerSelection = Literal["both", "image", "text"]
"""Which towers of a model are loaded."""

ExportFormat = Literal["onnx", "openvino", "torch"]
"""Runtimes that a model is exported for."""

ExportPrecision = Literal["fp32", "fp16", "int8"]
"""What exported weights are stored in."""

CheckpointLayout = Literal["native", "hf", "open_clip"]
"""Libraries whose layout is written."""

TaskName = Literal["zero-shot", "classifier", "retrieval", "linear-probe", "robustness", "scores"]
"""Tasks of evaluation."""

DecodeMode = Literal["exact", "fast"]
"""How files become pixels: to the last bit as the references do it, or nearly so and sooner."""

Embeddings: TypeAlias = "NDArray[np.float32]"
"""Unit vectors, float32 [n, embed_dim]."""

TruncatedTokens: TypeAlias = "tuple[NDArray[np.int64], int]"
"""Rows of token ids, int64 [text, context_length], and how many of the texts were cut for them."""


class TrainingTokenizer(Protocol):
    """What training asks of a vocabulary, CLIP's kind or SentencePiece's.

    Attributes:
        pad_id: The id that fills a row.
    """

    pad_id: int

    def encode_truncated(self, texts: Sequence[str], context_length: int) -> TruncatedTokens:
        """Rows of ids, texts that are too long cut, and how many of them were."""
        ...


class ProgressCallback(Protocol):
    """Told how much is done, of how much, and what is next."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show it."""
        ...


def no_progress(done: int, total: int, what: str = "") -> None:
    """Report no progress: the default of functions that take a `ProgressCallback`."""
