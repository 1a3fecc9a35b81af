"""Checkpoints of any family, read into a model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twinlens.checkpoints.checksums import verify_tensor_checksums
from twinlens.checkpoints.formats.key_map import to_native_tensors
from twinlens.checkpoints.formats.storage.tensors import stream_tensors
from twinlens.checkpoints.meta import meta_model
from twinlens.checkpoints.recognise import Checkpoint, open_checkpoint
from twinlens.checkpoints.torch_arrays import to_tensor
from twinlens.config import Activation, CLIPConfig, ViTConfig
from twinlens.errors import ConfigError
from twinlens.model.clip import CLIP, INITIAL_LOGIT_SCALE
from twinlens.types import TowerSelection

__all__ = [
    "Checkpoint",
    "TowerSelection",
    "load_model",
    "meta_model",
    "open_checkpoint",
    "read_model",
    "resize_config",
    "resize_positional_embedding",
    "select_towers",
]


_POSITIONAL_EMBEDDING = "image_tower.positional_embedding"


def load_model(
    path: Path,
    *,
    towers: TowerSelection = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
) -> CLIP:
    """Read a model; computation is in float32 whatever the type on disk.

    Args:
        path: Any checkpoint that `open_checkpoint` takes.
        towers: Only these towers' tensors are read.
        image_size: A size of images other than the checkpoint's: the positional embedding of a
            vision transformer is resized, bicubic as in open_clip.
        activation: See `open_checkpoint`.

    Raises:
        CheckpointError: Files are missing or damaged, or tensors do not fit the configuration;
            all that are missing, unexpected or of another shape are listed at once.
        ConfigError: The configuration is wrong, or the image size cannot be changed.
    """
    return read_model(open_checkpoint(path, activation=activation), towers, image_size)


def read_model(
    checkpoint: Checkpoint, towers: TowerSelection = "both", image_size: int | None = None
) -> CLIP:
    """Read the model of an opened checkpoint: see `load_model`."""
    config = select_towers(checkpoint.config, towers)
    model = meta_model(config)
    expected = model.state_dict()
    if config.vision is None or config.text is None:
        del expected["logit_scale"]  # one tower has no logits, and its file may have no scale
    checkpoint.check_compatible(expected)
    wanted = [
        name
        for mapping in checkpoint.key_map
        if mapping.native_name in expected
        for name in mapping.foreign_names
    ]
    passed = stream_tensors(checkpoint.tensors, dict.fromkeys(wanted))
    verify_tensor_checksums(passed, checkpoint.checksums, checkpoint.path)
    native_tensors = to_native_tensors(checkpoint.key_map, checkpoint.tensors)
    tensors = {"logit_scale": torch.tensor(INITIAL_LOGIT_SCALE)}
    for name in expected:
        tensor = to_tensor(native_tensors[name])
        tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    if image_size is not None and image_size != config.preprocess_config.image_size:
        config = resize_config(config, image_size)
        model = meta_model(config)
        tensors[_POSITIONAL_EMBEDDING] = resize_positional_embedding(
            tensors[_POSITIONAL_EMBEDDING], config
        )
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def select_towers(config: CLIPConfig, towers: TowerSelection) -> CLIPConfig:
    """Remove the towers that are not selected from a configuration.

    Raises:
        ConfigError: The model does not have the selected tower.
    """
    if towers == "image":
        _ = config.preprocess_config
        return replace(config, text=None)
    if towers == "text":
        _ = config.text_config
        return replace(config, vision=None, preprocess=None)
    return config


def resize_config(config: CLIPConfig, image_size: int) -> CLIPConfig:
    """The configuration for images of another size.

    Raises:
        ConfigError: The image tower is no vision transformer, or its patches do not fit.
    """
    if not isinstance(config.vision, ViTConfig):
        raise ConfigError(
            f"image_size: got {image_size} for a ResNet, expected a vision transformer: "
            "only its positional embedding can be resized"
        )
    return replace(
        config,
        vision=replace(config.vision, image_size=image_size),
        preprocess=replace(config.preprocess_config, image_size=image_size),
    )


def resize_positional_embedding(
    positions: Float[Tensor, "old width"], config: CLIPConfig
) -> Float[Tensor, "new width"]:
    """Resize a positional embedding to the configuration's grid of patches.

    A class token's row is not changed.

    Bicubic with anti-aliasing, as open_clip's `resize_pos_embed`.
    """
    assert isinstance(config.vision, ViTConfig)
    first = 1 if config.vision.pooling == "class" else 0
    new = config.vision.image_size // config.vision.patch_size
    old = math.isqrt(len(positions) - first)
    grid = positions[first:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:first], grid[0].flatten(1).T])
