"""The torch engine: a model's towers on one device, in one precision, laid out to answer fast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from twinlens.errors import ConfigError
from twinlens.hardware import retain_freed_memory, usable_cpu_count
from twinlens.images.batches import decode_batches
from twinlens.images.decode import to_pixels
from twinlens.inference.compiled import CompiledTower, can_compile
from twinlens.inference.cpu_packed import Tower, pack_for_inference, weights_fingerprint
from twinlens.inference.preprocess import check_pixel_batch, normalize, resize_batch
from twinlens.model.precision import (
    dtype_of,
    is_prepared,
    pick_device,
    pick_precision,
    prepare_model,
)
from twinlens.model.text import TextTransformer, encode_deduplicated
from twinlens.model.vision import VisionTransformer
from twinlens.types import Precision

if TYPE_CHECKING:
    from twinlens.config import CLIPConfig
    from twinlens.errors import DataError
    from twinlens.model.clip import CLIP
    from twinlens.types import DecodeMode, Embeddings, ImageInput

_TEXT_BATCH_MULTIPLE = 8
"""Texts of a batch for each image of one: a text is less work."""

_PROJECTION_BATCH = 8192
"""Images' features that are projected at a time."""

OnPixels: TypeAlias = Callable[[Tensor], object]
"""Called with the pixels of a batch: uint8 [batch, 3, size, size]."""


class TorchEngine:
    """Runs the towers of a model in batches.

    The model passed in stays as it is: another device or precision makes a copy.

    Attributes:
        model: The model on its device, in its precision, in evaluation mode.
        device: The device.
        precision: The precision of the towers.
        batch_size: Images of a batch.
        decode: How images become pixels (see `to_pixels`).
        compiled: True if the image tower is compiled when it is first used.
    """

    def __init__(
        self,
        model: CLIP,
        *,
        device: str,
        precision: Precision,
        batch_size: int,
        decode: DecodeMode,
        compiled: bool,
    ) -> None:
        self.device = pick_device(device)
        self.precision: Precision = pick_precision(precision, model, self.device)
        self.batch_size = batch_size
        self.decode: DecodeMode = decode
        self.compiled = compiled and can_compile()
        if not is_prepared(model, self.device, self.precision):
            model = prepare_model(copy.deepcopy(model), self.device, self.precision)
        self.model = model.eval()
        self._prepared_towers: dict[str, tuple[list[object], Tower | CompiledTower]] = {}
        if self.precision == "int8":
            retain_freed_memory()
        # More threads than cores that we may use only take turns.
        torch.set_num_threads(min(torch.get_num_threads(), usable_cpu_count()))

    def __getstate__(self) -> dict[str, Any]:
        """The state without prepared towers, which are prepared again where they are needed."""
        return self.__dict__ | {"_prepared_towers": {}}

    @property
    def config(self) -> CLIPConfig:
        """The configuration of the towers that were read."""
        return self.model.config

    @property
    def probe_width(self) -> int:
        """The width of the features that a linear probe reads."""
        tower = self.model.image_tower
        has_own = isinstance(tower, VisionTransformer)
        return tower.transformer.width if has_own else self.config.embed_dim

    def pixel_batches(
        self, images: Iterable[ImageInput], failures: dict[int, DataError] | None
    ) -> Iterator[UInt8[Tensor, "batch 3 size size"]]:
        """Decode images in batches, in their order; see `twinlens.images.batches`.

        Args:
            images: The images.
            failures: Gets what is wrong with images by their position; None raises it instead.

        Raises:
            ConfigError: The model was loaded without its image tower.
        """
        self.require_tower("image")
        batches = decode_batches(
            images,
            partial(to_pixels, config=self.config.preprocess_config, decode=self.decode),
            self.batch_size,
            failures,
            prefetch=self.device.type != "cpu",
        )
        return (torch.from_numpy(batch).permute(0, 3, 1, 2) for batch in batches)

    def embed_images(
        self,
        images: ImageInput | Iterable[ImageInput],
        failures: dict[int, DataError] | None = None,
        on_pixels: OnPixels | None = None,
    ) -> Embeddings:
        """Embed one image or several: float32 [n, embed_dim], unit length.

        Args:
            images: The images.
            failures: Gets what is wrong with images by their position; None raises it instead.
            on_pixels: Called with the pixels of each batch, in order.
        """
        parts: list[Tensor] = []
        for batch in self.pixel_batches(_as_image_list(images), failures):
            if on_pixels is not None:
                on_pixels(batch)
            parts.append(self.encode_pixels(batch))
        return self.unit_vectors(parts)

    @torch.inference_mode()
    def encode_pixels(
        self, pixels: UInt8[Tensor, "n 3 height width"], *, project: bool = True
    ) -> Float[Tensor, "n features"]:
        """Encode images that are decoded already; the arguments are those of the embedder's."""
        self.require_tower("image")
        check_pixel_batch(pixels)
        config = self.config.preprocess_config
        if self.device.type == "cuda" and pixels.device.type == "cpu":
            pixels = pixels.pin_memory()  # so that the copy does not stop what decodes the next
        moved = resize_batch(pixels.to(self.device, non_blocking=True), config)
        ready = normalize(moved, config).to(dtype_of(self.precision))
        tower = self.prepared_tower("image")
        if not project and isinstance(self.model.image_tower, VisionTransformer):
            plain = self.model.image_tower if isinstance(tower, CompiledTower) else tower
            return cast(VisionTransformer, plain).forward_features(ready)
        return tower(ready)

    def probe_features(
        self, images: Iterable[ImageInput], failures: dict[int, DataError]
    ) -> Float32[np.ndarray, "n width"]:
        """Encode images for a linear probe: before the projection of a vision transformer."""
        batches = self.pixel_batches(images, failures)
        parts = [self.encode_pixels(batch, project=False).float().cpu() for batch in batches]
        features = torch.cat(parts).numpy() if parts else np.zeros((0, self.probe_width))
        return features.astype(np.float32, copy=False)

    @torch.inference_mode()
    def project(self, features: Float32[np.ndarray, "n width"]) -> Embeddings:
        """Project what `probe_features` gave: float32 [n, embed_dim], unit length."""
        tower, parts = self.model.image_tower, torch.from_numpy(features).split(_PROJECTION_BATCH)
        if not isinstance(tower, VisionTransformer):
            return self.unit_vectors(list(parts))
        dtype = dtype_of(self.precision)
        return self.unit_vectors([tower.project(part.to(self.device, dtype)) for part in parts])

    @torch.inference_mode()
    def encode_tokens(self, tokens: Int64[Tensor, "n context"]) -> Float[Tensor, "n embed"]:
        """Encode rows of token ids, equal rows and equal beginnings once."""
        tower = cast(TextTransformer, self.prepared_tower("text"))
        return encode_deduplicated(tower, tokens, _TEXT_BATCH_MULTIPLE * self.batch_size)

    def unit_vectors(self, parts: Sequence[Float[Tensor, "_ embed"]]) -> Embeddings:
        """Join batches of features into embeddings: float32 [n, embed_dim], unit length."""
        if not parts:
            return np.zeros((0, self.config.embed_dim), np.float32)
        return F.normalize(torch.cat(list(parts)).float(), dim=-1).cpu().numpy()

    def prepared_tower(self, name: str) -> Tower | CompiledTower:
        """The tower as it answers fastest; prepared again when its weights have changed."""
        tower: Tower = getattr(self.model, f"{name}_tower")
        state = weights_fingerprint(tower)
        if name not in self._prepared_towers or self._prepared_towers[name][0] != state:
            if self.compiled and not isinstance(tower, TextTransformer):
                self._prepared_towers[name] = state, CompiledTower(tower)
            else:
                self._prepared_towers[name] = state, pack_for_inference(tower)
        return self._prepared_towers[name][1]

    def require_tower(self, name: str) -> None:
        """Make sure that a tower was loaded.

        Raises:
            ConfigError: It was not.
        """
        if not hasattr(self.model, f"{name}_tower"):
            raise ConfigError(
                f"{name}s: the model was loaded without its {name} tower, "
                f"expected towers='both' or towers={name!r}"
            )


def _as_image_list(images: ImageInput | Iterable[ImageInput]) -> Iterable[ImageInput]:
    single = isinstance(images, str | Path | bytes | Image.Image)
    if single or (isinstance(images, np.ndarray) and images.ndim <= 3):
        return [cast("ImageInput", images)]
    return cast("Iterable[ImageInput]", images)
