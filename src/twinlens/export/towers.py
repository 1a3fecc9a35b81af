"""The halves of a model as deployment wants them: one input, unit vectors, nothing left to do.

Each is traced once by torch; the modules of the formats write what was traced.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from twinlens.embed.embedder import Embedder
from twinlens.export.parity import probe_images, probe_texts
from twinlens.model.clip import ImageTower
from twinlens.model.text import TextTransformer

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTPUT = "embeddings"
"""What every file calls its answer: float32 [batch, embed_dim], unit length."""

KEY = "twinlens"
"""Under which name a file's own metadata holds the JSON of `facts`."""

Precision = Literal["fp32", "fp16", "int8"]

Run: TypeAlias = "Callable[[NDArray[np.generic]], NDArray[np.float32]]"
"""A tower in some runtime: a batch of inputs to unit vectors."""


class UnitImages(nn.Module):
    """Normalised pixels to unit vectors."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch embed"]:
        """Embed images."""
        return F.normalize(self.tower(images), dim=-1)


class UnitTexts(nn.Module):
    """Whole contexts of token ids to unit vectors: no shape in it depends on the texts."""

    def __init__(self, tower: TextTransformer) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, "batch embed"]:
        """Embed texts."""
        return F.normalize(self.tower.whole(tokens), dim=-1)


@dataclass(frozen=True, slots=True)
class Tower:
    """One half of a model, ready to be written.

    Attributes:
        name: "image" or "text", the stem of its file.
        input: What its file calls its input: "images" or "tokens".
        module: From a batch of that to unit vectors.
        probes: A batch of inputs to trace it and to check its file with, eight or more.
        expected: What the model itself makes of them, in float32.
    """

    name: Literal["image", "text"]
    input: Literal["images", "tokens"]
    module: nn.Module
    probes: Tensor
    expected: Tensor


@torch.no_grad()
def towers_of(lens: Embedder) -> list[Tower]:
    """The towers that a model has, the image tower first.

    Args:
        lens: The model, in float32 on the processor.
    """
    found: list[Tower] = []
    model = lens.model
    if lens.config.vision is not None:
        images = [*probe_images(), *_noise(lens.config.image_input.image_size)]
        pixels = torch.stack([lens.preprocess(image) for image in images])
        expected = model.encode_image(pixels, normalize=True)
        found.append(Tower("image", "images", UnitImages(model.image_tower), pixels, expected))
    if lens.config.text is not None:
        length = lens.config.text.context_length
        tokens = lens.tokenizer(probe_texts(), context_length=length, truncate=True)
        expected = model.encode_text(tokens, normalize=True)
        found.append(Tower("text", "tokens", UnitTexts(model.text_tower), tokens, expected))
    return found


def traced(tower: Tower) -> ExportedProgram:
    """The tower as torch's exporter sees it, for any number of inputs."""
    batch = ({0: Dim("batch")},)
    with torch.no_grad(), without_torch_s_warnings():
        # A batch of one would be taken for a constant.
        program = torch.export.export(tower.module, (tower.probes[:2],), dynamic_shapes=batch)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine are nobody's business
    return program


@contextmanager
def without_torch_s_warnings() -> Generator[None]:
    """Keep to itself what torch's exporters say of their own old code, and of nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        yield


def _noise(size: int) -> list[Image.Image]:
    """Four images of nothing, always the same."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)) for _ in range(4)]
