"""The torch engine: a model's towers on one device, in one precision, laid out to answer fast."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.checkpoints.torch_arrays import to_array
from twinlens.hardware import retain_freed_memory, usable_cpu_count
from twinlens.inference.compiled import CompiledTower, can_compile
from twinlens.inference.cpu_packed import Tower, pack_for_inference, weights_fingerprint
from twinlens.inference.engine import HIDDEN_TEXT_BATCH, check_pixel_batch, require_tower
from twinlens.inference.outputs import hidden_block, image_output_shape, require_output
from twinlens.inference.preprocess import normalize, resize_batch
from twinlens.model.precision import (
    dtype_of,
    is_prepared,
    pick_device,
    pick_precision,
    prepare_model,
)
from twinlens.model.resnet import ModifiedResNet
from twinlens.model.text import TextTransformer, encode_deduplicated
from twinlens.model.vision import VisionTransformer
from twinlens.types import EngineName, Precision

if TYPE_CHECKING:
    from twinlens.config import CLIPConfig
    from twinlens.model.clip import CLIP, ImageTower
    from twinlens.types import Embeddings

_PROJECTION_BATCH = 8192
"""Images' features that are projected at a time."""


class TorchEngine:
    """Runs the towers of a model in batches.

    The model passed in stays as it is: another device or precision makes a copy.

    Args:
        model: A model with any of its towers.
        device: Its name, or "auto".
        precision: The precision of the towers.
        compiled: Compile the image tower when it is first used.

    Attributes:
        model: The model on its device, in its precision, in evaluation mode.
        device: The device's name.
        precision: The precision of the towers.
        compiled: True if the image tower is compiled when it is first used.
    """

    name: EngineName = "torch"

    def __init__(
        self, model: CLIP, *, device: str, precision: Precision, compiled: bool = False
    ) -> None:
        self._device = pick_device(device)
        self.device = str(self._device)
        self.precision: Precision = pick_precision(precision, model, self._device)
        self.compiled = compiled and can_compile()
        if not is_prepared(model, self._device, self.precision):
            model = prepare_model(copy.deepcopy(model), self._device, self.precision)
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
    def logit_scale(self) -> float:
        """The inverse temperature, not its log."""
        return self.model.logit_scale.detach().float().exp().item()

    @torch.inference_mode()
    def encode_images(
        self, batches: Iterable[UInt8[np.ndarray, "batch size size 3"]], output: str = "embedding"
    ) -> NDArray[np.float32]:
        """Encode batches of decoded images: see `Engine`."""
        require_tower(self.config, "image")
        require_output("image", output, self.config)
        parts = [self._encode_pixels(torch.from_numpy(batch), output) for batch in batches]
        if not parts:
            return np.zeros((0, *image_output_shape(self.config, output)), np.float32)
        found = torch.cat(parts).float()
        return (F.normalize(found, dim=-1) if output == "embedding" else found).cpu().numpy()

    def _encode_pixels(self, pixels: UInt8[Tensor, "n size size 3"], output: str) -> Tensor:
        if self._device.type == "cuda":
            pixels = pixels.pin_memory()  # so that the copy does not stop what decodes the next
        moved = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        return self.encode_pixels(moved, output)

    @torch.inference_mode()
    def encode_pixels(self, pixels: UInt8[Tensor, "n 3 height width"], output: str) -> Tensor:
        """Encode pixels on the engine's device; those of another size are resized there.

        Returns:
            In the model's precision, on its device; embeddings are not of unit length.

        Raises:
            ShapeError: They are not uint8, or have another shape.
        """
        check_pixel_batch(pixels)
        config = self.config.preprocess_config
        moved = resize_batch(pixels.to(self._device, non_blocking=True), config)
        ready = normalize(moved, config).to(dtype_of(self.precision))
        tower = self.prepared_tower("image")
        if output == "embedding":
            return tower(ready)
        plain = self.model.image_tower if isinstance(tower, CompiledTower) else tower
        return image_output(cast("ImageTower", plain), ready, output)

    def embed_pixels(self, pixels: UInt8[Tensor | np.ndarray, "n 3 height width"]) -> Embeddings:
        """Embed pixels that are decoded already: see `Engine`."""
        require_tower(self.config, "image")
        features = self.encode_pixels(_as_tensor(pixels), "embedding")
        return F.normalize(features.float(), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def project(self, features: Float32[np.ndarray, "n width"]) -> Embeddings:
        """Project the features of a linear probe: unit vectors."""
        require_tower(self.config, "image")
        tower, dtype = self.model.image_tower, dtype_of(self.precision)
        parts = torch.from_numpy(features).split(_PROJECTION_BATCH)
        if isinstance(tower, VisionTransformer):
            parts = [tower.project(part.to(self._device, dtype)) for part in parts]
        return F.normalize(torch.cat(list(parts)).float(), dim=-1).cpu().numpy()

    @torch.inference_mode()
    def encode_texts(
        self, tokens: Int64[np.ndarray, "n context"], output: str, batch_size: int
    ) -> NDArray[np.float32]:
        """Encode rows of token ids: see `Engine`."""
        require_tower(self.config, "text")
        require_output("text", output, self.config)
        tower = cast(TextTransformer, self.prepared_tower("text"))
        if output == "embedding":
            features = encode_deduplicated(tower, tokens, batch_size)
            return F.normalize(features.float(), dim=-1).cpu().numpy()
        block = hidden_block(output, len(tower.transformer.blocks))
        assert block is not None
        parts = torch.from_numpy(tokens).split(HIDDEN_TEXT_BATCH)
        found = [tower.hidden_states(part.to(self._device))[block] for part in parts]
        return torch.cat(found).float().cpu().numpy()

    def tower_weights(self, name: str) -> Mapping[str, Array]:
        """The weights of the "image" or the "text" tower by our names."""
        state = getattr(self.model, f"{name}_tower").state_dict()
        return {f"{name}_tower.{key}": to_array(value) for key, value in state.items()}

    def torch_model(self) -> CLIP:
        """The model that answers: a change of its weights changes the answers."""
        return self.model

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


def _as_tensor(pixels: Any) -> Any:
    """A copy of an array, which torch may write to; all else as it is."""
    return torch.tensor(pixels) if isinstance(pixels, np.ndarray) else pixels


def prepare_in_place(model: CLIP, device: str, precision: Precision) -> tuple[CLIP, str, Precision]:
    """Move a model to its device and precision, so that a large one is not held twice."""
    target = pick_device(device)
    chosen = pick_precision(precision, model, target)
    return prepare_model(model, target, chosen), str(target), chosen


def image_output(tower: ImageTower, images: Float[Tensor, "n 3 size size"], output: str) -> Tensor:
    """An output of an image tower other than its embedding: see `Engine.encode_images`."""
    if isinstance(tower, ModifiedResNet):
        return tower.forward_patches(images) if output == "patches" else tower(images)
    if output == "features":
        return tower.forward_features(images)
    if output == "patches":
        return tower.forward_patches(images)
    block = hidden_block(output, len(tower.transformer.blocks))
    assert block is not None
    return tower.hidden_states(images)[block]
