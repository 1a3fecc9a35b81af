"""The architecture of CLIP's towers in Hugging Face's names, read from their shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from twinlens.checkpoints.formats.openai import image_tower_heads
from twinlens.checkpoints.formats.shapes import count_numbered, shape_of
from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config import Activation, CLIPConfig, PreprocessConfig, TextConfig, ViTConfig

_TEXT_PREFIX, _VISION_PREFIX = "text_model.", "vision_model."
_TOKEN_EMBEDDING = "embeddings.token_embedding.weight"
_PATCH_EMBEDDING = "embeddings.patch_embedding.weight"
_HEAD_DIM = 64
_SIGLIP_KEYS = ("vision_model.head.probe", "text_model.head.weight", "head.probe", "head.weight")


_require_shape = partial(shape_of, family="Hugging Face's")


def has_hugging_face_names(names: Mapping[str, Array]) -> bool:
    """True if tensors have Hugging Face's names of both towers, or of one."""
    marks = (
        _TOKEN_EMBEDDING,
        _PATCH_EMBEDDING,
        _TEXT_PREFIX + _TOKEN_EMBEDDING,
        _VISION_PREFIX + _PATCH_EMBEDDING,
    )
    return any(mark in names for mark in marks)


def is_siglip(names: Mapping[str, Array]) -> bool:
    """True for SigLIP's tensors, whose shapes are not enough to infer the architecture."""
    return any(name in names for name in _SIGLIP_KEYS)


def infer_config(tensors: Mapping[str, Array], activation: Activation) -> CLIPConfig:
    """The configuration that the shapes of a file's tensors imply.

    Heads are as in the models that were released: see `openai.infer_config`.

    Raises:
        CheckpointError: A tensor that sizes are read from is missing or of another rank.
        ConfigError: The sizes do not fit together.
    """
    text = vision = preprocess = None
    embed_dim = 0
    if _TEXT_PREFIX + _TOKEN_EMBEDDING in tensors or _TOKEN_EMBEDDING in tensors:
        text, embed_dim = _infer_text(tensors, activation)
    if _VISION_PREFIX + _PATCH_EMBEDDING in tensors or _PATCH_EMBEDDING in tensors:
        vision, embed_dim = _infer_vision(tensors, activation)
        preprocess = PreprocessConfig(image_size=vision.image_size)
    return CLIPConfig(
        embed_dim=embed_dim,
        vision=vision,
        text=text,
        logit_bias="logit_bias" in tensors,
        preprocess=preprocess,
    )


def _infer_text(tensors: Mapping[str, Array], activation: Activation) -> tuple[TextConfig, int]:
    """The text tower, and the width of its output."""
    root = _TEXT_PREFIX if _TEXT_PREFIX + _TOKEN_EMBEDDING in tensors else ""
    vocab_size, width = _require_shape(tensors, root + _TOKEN_EMBEDDING, 2)
    projects = "text_projection.weight" in tensors
    config = TextConfig(
        context_length=_require_shape(tensors, f"{root}embeddings.position_embedding.weight", 2)[0],
        vocab_size=vocab_size,
        width=width,
        layers=count_numbered(tensors, f"{root}encoder.layers."),
        heads=width // _HEAD_DIM,
        mlp_width=_infer_mlp_width(tensors, root, width),
        activation=activation,
        projection="linear" if projects else "none",
    )
    return config, _require_shape(tensors, "text_projection.weight", 2)[0] if projects else width


def _infer_vision(tensors: Mapping[str, Array], activation: Activation) -> tuple[ViTConfig, int]:
    """The image tower, and the width of its output."""
    root = _VISION_PREFIX if _VISION_PREFIX + _PATCH_EMBEDDING in tensors else ""
    width, _, patch_size, _ = _require_shape(tensors, root + _PATCH_EMBEDDING, 4)
    patches = _require_shape(tensors, f"{root}embeddings.position_embedding.weight", 2)[0] - 1
    projects = "visual_projection.weight" in tensors
    config = ViTConfig(
        image_size=patch_size * math.isqrt(patches),
        patch_size=patch_size,
        width=width,
        layers=count_numbered(tensors, f"{root}encoder.layers."),
        heads=image_tower_heads(width),
        mlp_width=_infer_mlp_width(tensors, root, width),
        activation=activation,
        projection="linear" if projects else "none",
    )
    return config, _require_shape(tensors, "visual_projection.weight", 2)[0] if projects else width


def _infer_mlp_width(tensors: Mapping[str, Array], root: str, width: int) -> int | None:
    found = _require_shape(tensors, f"{root}encoder.layers.0.mlp.fc1.bias", 1)[0]
    return None if found == 4 * width else found
