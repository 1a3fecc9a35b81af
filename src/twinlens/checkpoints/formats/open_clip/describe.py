"""A `CLIPConfig` as `open_clip_config.json`, where open_clip computes the same.

open_clip reads the tables `model_cfg` and `preprocess_cfg` only: fields that only we have
(templates, provenance) go into another one.
"""

from __future__ import annotations

from typing import Any

from twinlens.checkpoints.formats.extras import EXTRAS_KEY, extract_extras
from twinlens.checkpoints.formats.open_clip import timm_siglip
from twinlens.checkpoints.formats.open_clip.config import (
    NORM_EPS,
    POOLINGS,
    RESIZE_MODES,
    TEXT_CLEANINGS,
)
from twinlens.config import CLIPConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.errors import CheckpointError


def config_json(config: CLIPConfig) -> dict[str, Any]:
    """The file that makes open_clip build this model.

    Raises:
        CheckpointError: open_clip has no such model.
    """
    vision, text, preprocess = config.vision, config.text, config.preprocess
    if vision is None or text is None or preprocess is None:
        raise CheckpointError("open_clip: got one tower, expected both")
    model: dict[str, Any] = {
        "embed_dim": config.embed_dim,
        "vision_cfg": _vision_json(vision),
        "text_cfg": _text_json(text) | _tokenizer_json(config),
    }
    if _uses_quick_gelu(vision, text):
        model["quick_gelu"] = True
    if config.logit_bias:
        model["init_logit_bias"] = -10
    if is_timm_tower(config):
        model["custom_text"] = True
    resizes = {ours: theirs for theirs, ours in RESIZE_MODES.items()}
    return {
        "model_cfg": model,
        "preprocess_cfg": {
            "size": preprocess.image_size,
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "interpolation": preprocess.interpolation,
            "resize_mode": resizes[preprocess.resize],
        },
        EXTRAS_KEY: extract_extras(config),
    }


def is_timm_tower(config: CLIPConfig) -> bool:
    """True if open_clip takes the image tower from timm."""
    return isinstance(config.vision, ViTConfig) and config.vision.pooling == "attention"


def _vision_json(config: ViTConfig | ResNetConfig) -> dict[str, Any]:
    if isinstance(config, ResNetConfig):
        return {
            "image_size": config.image_size,
            "layers": list(config.layers),
            "width": config.width,
            "head_width": config.width * 32 // config.heads,
            "patch_size": None,
        }
    if config.pooling == "attention":
        return {
            "image_size": config.image_size,
            "timm_model_name": timm_siglip.find_tower_name(config),
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        }
    if config.projection == "none":
        raise CheckpointError(
            "image tower: got no projection, expected one: open_clip's ViT has it"
        )
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "layers": config.layers,
        "width": config.width,
        "head_width": config.width // config.heads,
    } | _block_json(config)


def _text_json(config: TextConfig) -> dict[str, Any]:
    poolings = {ours: theirs for theirs, ours in POOLINGS.items()}
    described: dict[str, Any] = {
        "context_length": config.context_length,
        "vocab_size": config.vocab_size,
        "width": config.width,
        "heads": config.heads,
        "layers": config.layers,
    }
    described |= _block_json(config)
    if config.pooling != "highest":
        described["pool_type"] = poolings[config.pooling]
    if config.end_id is not None:
        described["eos_id"] = config.end_id
    if not config.causal:
        described["no_causal_mask"] = True
    if config.projection == "affine":
        described["proj_bias"] = True
    if config.projection == "none":
        described["proj_type"] = "none"
    return described


def _block_json(config: ViTConfig | TextConfig) -> dict[str, Any]:
    described: dict[str, Any] = {}
    if config.mlp_width not in (None, 4 * config.width):
        described["mlp_ratio"] = _mlp_ratio(config.width, config.mlp_width)
    if config.activation == "gelu_tanh":
        described["act_kwargs"] = {"approximate": "tanh"}
    if config.norm_eps != NORM_EPS:
        described["norm_kwargs"] = {"eps": config.norm_eps}
    return described


def _mlp_ratio(width: int, mlp_width: int) -> float:
    """A ratio of which open_clip's `int(width * ratio)` makes this width."""
    ratio = mlp_width / width
    return ratio if int(width * ratio) == mlp_width else (mlp_width + 0.5) / width


def _uses_quick_gelu(vision: ViTConfig | ResNetConfig, text: TextConfig) -> bool:
    """True if `quick_gelu` is on: one switch for both towers, which timm's tower ignores."""
    activations = [text.activation]
    if isinstance(vision, ViTConfig) and vision.pooling == "class":
        activations.append(vision.activation)
    quick = {activation == "quick_gelu" for activation in activations}
    if len(quick) > 1:
        raise CheckpointError(
            f"activations: got {' and '.join(activations)} for texts and images, "
            "expected quick_gelu for both or neither: open_clip has one switch"
        )
    return quick.pop()


def _tokenizer_json(config: CLIPConfig) -> dict[str, Any]:
    if config.tokenizer == "clip":
        return {}
    # Other cleaning is in the vocabulary's own file, and this one as gentle as open_clip has it.
    clean = config.text_cleaning if config.text_cleaning in TEXT_CLEANINGS else "whitespace"
    return {
        "hf_tokenizer_name": "local-dir",  # any name there means the files in the same directory
        "tokenizer_kwargs": {"clean": clean},
    }
