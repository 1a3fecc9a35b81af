"""Checkpoints of any family, read into a model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twinlens.checkpoints.checksums import check_tensors
from twinlens.checkpoints.formats.key_map import Linked
from twinlens.checkpoints.formats.storage.tensors import passing
from twinlens.checkpoints.recognise import Checkpoint, open_checkpoint
from twinlens.config import Activation, CLIPConfig, ViTConfig
from twinlens.errors import ConfigError
from twinlens.model.clip import CLIP, INITIAL_LOGIT_SCALE
from twinlens.model.meta import meta_model

__all__ = [
    "Checkpoint",
    "Towers",
    "chosen_towers",
    "load_model",
    "meta_model",
    "open_checkpoint",
    "read_model",
    "resized_config",
    "resized_positions",
]

Towers = Literal["both", "image", "text"]

_POSITIONS = "image_tower.positional_embedding"


def load_model(
    path: Path,
    *,
    towers: Towers = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
) -> CLIP:
    """Read a model; computation is in float32 whatever the type on disk.

    Args:
        path: Any checkpoint that `open_checkpoint` takes.
        towers: Only these towers' tensors are read and held.
        image_size: Another size of images than the checkpoint's: the positional embedding of a
            vision transformer is resized, bicubic as in open_clip.
        activation: See `open_checkpoint`.

    Raises:
        CheckpointError: Files are missing or damaged, or tensors do not fit the configuration;
            all that are missing, unexpected or of another shape are listed at once.
        ConfigError: The configuration is wrong, or the image size cannot be changed.
    """
    return read_model(open_checkpoint(path, activation=activation), towers, image_size)


def read_model(
    checkpoint: Checkpoint, towers: Towers = "both", image_size: int | None = None
) -> CLIP:
    """The model of an opened checkpoint: see `load_model`."""
    config = chosen_towers(checkpoint.config, towers)
    model = meta_model(config)
    expected = model.state_dict()
    if config.vision is None or config.text is None:
        del expected["logit_scale"]  # one tower has no logits, and its file may have no scale
    checkpoint.check(expected)
    wanted = [name for link in checkpoint.links if link.native in expected for name in link.foreign]
    passed = passing(checkpoint.tensors, dict.fromkeys(wanted))
    check_tensors(passed, checkpoint.sums, checkpoint.path)
    linked = Linked(checkpoint.links, checkpoint.tensors)
    tensors = {"logit_scale": torch.tensor(INITIAL_LOGIT_SCALE)}
    for name in expected:
        tensor = linked[name]
        tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    if image_size is not None and image_size != config.image_input.image_size:
        config = resized_config(config, image_size)
        model = meta_model(config)
        tensors[_POSITIONS] = resized_positions(tensors[_POSITIONS], config)
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def chosen_towers(config: CLIPConfig, towers: Towers) -> CLIPConfig:
    """The configuration without the tower that is not wanted.

    Raises:
        ConfigError: The model has not got the one that is.
    """
    if towers == "image":
        _ = config.image_input
        return replace(config, text=None)
    if towers == "text":
        _ = config.text_input
        return replace(config, vision=None, preprocess=None)
    return config


def resized_config(config: CLIPConfig, image_size: int) -> CLIPConfig:
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
        preprocess=replace(config.image_input, image_size=image_size),
    )


def resized_positions(
    positions: Float[Tensor, "old width"], config: CLIPConfig
) -> Float[Tensor, "new width"]:
    """A positional embedding for the configuration's grid of patches; a class token's stays.

    Bicubic with anti-aliasing, as open_clip's `resize_pos_embed`.
    """
    assert isinstance(config.vision, ViTConfig)
    first = 1 if config.vision.pooling == "class" else 0
    new = config.vision.image_size // config.vision.patch_size
    old = math.isqrt(len(positions) - first)
    grid = positions[first:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:first], grid[0].flatten(1).T])
