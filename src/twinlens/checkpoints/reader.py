"""Checkpoints of any family, read into a torch model."""

from __future__ import annotations

from pathlib import Path

from twinlens.checkpoints.meta import meta_model
from twinlens.checkpoints.recognise import Checkpoint
from twinlens.checkpoints.torch_arrays import to_tensor
from twinlens.checkpoints.weights import Weights, load_weights, read_weights
from twinlens.config import Activation
from twinlens.model.clip import CLIP
from twinlens.types import TowerSelection


def load_model(
    path: Path,
    *,
    towers: TowerSelection = "both",
    image_size: int | None = None,
    activation: Activation | None = None,
) -> CLIP:
    """Read a model: see `load_weights`; computation is in float32 whatever the type on disk."""
    return build_model(
        load_weights(path, towers=towers, image_size=image_size, activation=activation)
    )


def read_model(
    checkpoint: Checkpoint, towers: TowerSelection = "both", image_size: int | None = None
) -> CLIP:
    """Read the model of an opened checkpoint: see `load_model`."""
    return build_model(read_weights(checkpoint, towers, image_size))


def build_model(weights: Weights) -> CLIP:
    """Make the torch model of weights; it shares the memory of those in float32."""
    model = meta_model(weights.config)
    tensors = {name: to_tensor(array) for name, array in weights.tensors.items()}
    for name, tensor in tensors.items():
        tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    model.load_state_dict(tensors, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()
