"""Shared types: image inputs, options with fixed values, tokenizer and progress protocols."""

from __future__ import annotations

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
"""Precision of a model; "auto" picks the fastest accurate one of the device."""

BF16_MIN_PARAMETERS = 50_000_000
"""Smaller models stay in float32: in bf16, `icons` changes one label in a hundred."""

EngineName = Literal["openvino", "torch"]
"""Runtimes that answer."""

EngineChoice = Literal["auto", "openvino", "torch"]
"""A runtime to answer with; "auto" is OpenVINO on processors, torch elsewhere."""

TowerSelection = Literal["both", "image", "text"]
"""The towers of a model to load."""

ExportFormat = Literal["onnx", "openvino", "torch"]
"""Runtimes that a model is exported for."""

ExportPrecision = Literal["fp32", "fp16", "int8"]
"""Precision of exported weights."""

CheckpointLayout = Literal["native", "hf", "open_clip"]
"""Layouts in which a model can be written, by library."""

TaskName = Literal["zero-shot", "classifier", "retrieval", "linear-probe", "robustness", "scores"]
"""Tasks of evaluation."""

DecodeMode = Literal["exact", "fast"]
"""Image decoding: bit for bit as the references do, or faster with nearly equal pixels."""

Embeddings: TypeAlias = "NDArray[np.float32]"
"""Unit vectors, float32 [n, embed_dim]."""

TruncatedTokens: TypeAlias = "tuple[NDArray[np.int64], int]"
"""Rows of token ids, int64 [text, context_length], and the number of truncated texts."""


class ProgressCallback(Protocol):
    """A function that is called with the progress: done, total, and a description."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show it."""
        ...


def no_progress(done: int, total: int, what: str = "") -> None:
    """Report no progress: the default of functions that take a `ProgressCallback`."""
