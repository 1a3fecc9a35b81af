"""The architecture of CLIP's towers in Hugging Face's names, read from their shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from twinlens.checkpoints.formats.openai import heads_of_image_tower
from twinlens.config import Activation, CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError

_TEXT, _VISION = "text_model.", "vision_model."
_TOKENS = "embeddings.token_embedding.weight"
_PATCHES = "embeddings.patch_embedding.weight"
_HEAD_WIDTH = 64
_SIGLIP = ("vision_model.head.probe", "text_model.head.weight", "head.probe", "head.weight")


def named(names: Mapping[str, Tensor]) -> bool:
    """Whether tensors have Hugging Face's names: of both towers, or of one."""
    marks = (_TOKENS, _PATCHES, _TEXT + _TOKENS, _VISION + _PATCHES)
    return any(mark in names for mark in marks)


def is_siglip(names: Mapping[str, Tensor]) -> bool:
    """Whether they are SigLIP's, of which shapes do not tell enough."""
    return any(name in names for name in _SIGLIP)


def infer_config(tensors: Mapping[str, Tensor], activation: Activation) -> CLIPConfig:
    """The configuration that the shapes of a file's tensors imply.

    Heads are as in the models that were released: see `openai.infer_config`.

    Raises:
        CheckpointError: A tensor that tells a size is missing or has an unlikely shape.
        ConfigError: The sizes do not fit together.
    """
    text = vision = preprocess = None
    embed_dim = 0
    if _TEXT + _TOKENS in tensors or _TOKENS in tensors:
        text, embed_dim = _text(tensors, activation)
    if _VISION + _PATCHES in tensors or _PATCHES in tensors:
        vision, embed_dim = _vision(tensors, activation)
        preprocess = PreprocessConfig(image_size=vision.image_size)
    return CLIPConfig(
        embed_dim=embed_dim,
        vision=vision,
        text=text,
        logit_bias="logit_bias" in tensors,
        preprocess=preprocess,
    )


def _text(tensors: Mapping[str, Tensor], activation: Activation) -> tuple[TextConfig, int]:
    """The text tower, and how wide its answer is."""
    root = _TEXT if _TEXT + _TOKENS in tensors else ""
    vocab_size, width = _shape(tensors, root + _TOKENS, 2)
    projects = "text_projection.weight" in tensors
    config = TextConfig(
        context_length=_shape(tensors, f"{root}embeddings.position_embedding.weight", 2)[0],
        vocab_size=vocab_size,
        width=width,
        layers=_layers(tensors, root),
        heads=width // _HEAD_WIDTH,
        mlp_width=_mlp_width(tensors, root, width),
        activation=activation,
        projection="linear" if projects else "none",
    )
    return config, _shape(tensors, "text_projection.weight", 2)[0] if projects else width


def _vision(tensors: Mapping[str, Tensor], activation: Activation) -> tuple[ViTConfig, int]:
    """The image tower, and how wide its answer is."""
    root = _VISION if _VISION + _PATCHES in tensors else ""
    width, _, patch_size, _ = _shape(tensors, root + _PATCHES, 4)
    patches = _shape(tensors, f"{root}embeddings.position_embedding.weight", 2)[0] - 1
    projects = "visual_projection.weight" in tensors
    config = ViTConfig(
        image_size=patch_size * math.isqrt(patches),
        patch_size=patch_size,
        width=width,
        layers=_layers(tensors, root),
        heads=heads_of_image_tower(width),
        mlp_width=_mlp_width(tensors, root, width),
        activation=activation,
        projection="linear" if projects else "none",
    )
    return config, _shape(tensors, "visual_projection.weight", 2)[0] if projects else width


def _layers(tensors: Mapping[str, Tensor], root: str) -> int:
    prefix = f"{root}encoder.layers."
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _mlp_width(tensors: Mapping[str, Tensor], root: str, width: int) -> int | None:
    found = _shape(tensors, f"{root}encoder.layers.0.mlp.fc1.bias", 1)[0]
    return None if found == 4 * width else found


def _shape(tensors: Mapping[str, Tensor], name: str, axes: int) -> Sequence[int]:
    if name not in tensors:
        raise CheckpointError(f"got no {name}, expected one beside the others of CLIP's")
    shape = tensors[name].shape
    if len(shape) != axes or min(shape) < 1:
        raise CheckpointError(f"{name}: got shape {list(shape)}, expected {axes} axes")
    return shape
