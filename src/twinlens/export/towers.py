"""Towers prepared for export: one input, unit vectors as output.

`export_program` traces a tower with torch, for the formats that are written from a trace.
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

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.checkpoints.torch_arrays import to_array
from twinlens.config import CLIPConfig
from twinlens.embed.embedder import Embedder
from twinlens.export.parity import probe_images, probe_texts
from twinlens.model.clip import ImageTower
from twinlens.model.text import TextTransformer

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTPUT_NAME = "embeddings"
"""Name of the output in every file: float32 [batch, embed_dim], unit length."""

METADATA_KEY = "twinlens"
"""Key of a file's own metadata that holds the JSON of `twinlens.json`."""

TowerRunner: TypeAlias = "Callable[[NDArray[np.generic]], NDArray[np.float32]]"
"""A tower in a runtime: maps a batch of inputs to unit vectors."""


class NormalisedImageTower(nn.Module):
    """Normalised pixels to unit vectors."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch embed"]:
        """Embed images."""
        return F.normalize(self.tower(images), dim=-1)


class NormalisedTextTower(nn.Module):
    """Full contexts of token ids to unit vectors: no shape depends on the texts."""

    def __init__(self, tower: TextTransformer) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, "batch embed"]:
        """Embed texts."""
        return F.normalize(self.tower.forward_full_context(tokens), dim=-1)


@dataclass(frozen=True, slots=True)
class ExportTower:
    """A tower of a model, ready to be exported.

    Attributes:
        name: "image" or "text", the stem of its file.
        input_name: Name of the input in its file: "images" or "tokens".
        config: The model's configuration.
        module: Maps a batch of inputs to unit vectors.
        inputs: A batch of eight or more inputs to trace it with and to check its file.
        embeddings: The model's own outputs for them, in float32.
    """

    name: Literal["image", "text"]
    input_name: Literal["images", "tokens"]
    config: CLIPConfig
    module: nn.Module
    inputs: Tensor
    embeddings: Tensor

    def weights(self) -> dict[str, Array]:
        """The tower's weights by our names."""
        state = self.module.get_submodule("tower").state_dict()
        return {f"{self.name}_tower.{name}": to_array(state[name]) for name in state}


@torch.no_grad()
def export_towers(embedder: Embedder) -> list[ExportTower]:
    """Prepare the towers of a model, the image tower first.

    Args:
        embedder: The model, in float32 on the CPU.
    """
    towers: list[ExportTower] = []
    model, config = embedder.model, embedder.config
    if embedder.config.vision is not None:
        images = [*probe_images(), *_noise_images(embedder.config.preprocess_config.image_size)]
        pixels = torch.from_numpy(np.stack([embedder.preprocess(image) for image in images]))
        expected = model.encode_image(pixels, normalize=True)
        image_tower = NormalisedImageTower(model.image_tower)
        towers.append(ExportTower("image", "images", config, image_tower, pixels, expected))
    if embedder.config.text is not None:
        length = embedder.config.text.context_length
        tokens = torch.from_numpy(
            embedder.tokenizer(probe_texts(), context_length=length, truncate=True)
        )
        expected = model.encode_text(tokens, normalize=True)
        text_tower = NormalisedTextTower(model.text_tower)
        towers.append(ExportTower("text", "tokens", config, text_tower, tokens, expected))
    return towers


def export_program(tower: ExportTower) -> ExportedProgram:
    """Trace a tower with torch's exporter, for any batch size."""
    batch = ({0: Dim("batch")},)
    with torch.no_grad(), _suppress_exporter_warnings():
        # A batch of one would become a constant.
        program = torch.export.export(tower.module, (tower.inputs[:2],), dynamic_shapes=batch)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of this machine
    return program


@contextmanager
def _suppress_exporter_warnings() -> Generator[None]:
    """Silence the warnings of torch's exporters about their own code, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        yield


def _noise_images(image_size: int) -> list[Image.Image]:
    """Four images of noise, always the same."""
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (image_size, image_size, 3), np.uint8))
        for _ in range(4)
    ]
