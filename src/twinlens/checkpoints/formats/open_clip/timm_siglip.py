"""SigLIP's image towers in timm, whose sizes are given by a name and not in a file.

The numbers are those of the functions of these names in `timm/models/vision_transformer.py`, timm
1.0.31. All have biases, norms with 1e-6, no class token, and as many heads in the pool as in the
blocks. The activation is timm's too: all of SigLIP was trained with the approximation, but where
timm does not say `gelu_tanh` its towers compute the exact function, and so do we.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from twinlens.checkpoints.formats.key_map import KeyMapping, renamed, reshaped, weight_and_bias
from twinlens.config import Activation, ViTConfig
from twinlens.errors import CheckpointError

TRUNK_PREFIX = "visual.trunk"


class _TowerSize(NamedTuple):
    width: int
    layers: int
    heads: int
    mlp_width: int | None  # four times the width where it is None


_TOWER_SIZES = {
    "base": _TowerSize(768, 12, 12, None),
    "large": _TowerSize(1024, 24, 16, None),
    "so400m": _TowerSize(1152, 27, 16, 4304),
    "giantopt": _TowerSize(1536, 40, 16, None),
}
_ACTIVATIONS: dict[tuple[str, int, int], Activation] = {
    # size, side of a patch, side of the image
    ("base", 32, 256): "gelu_tanh",
    ("base", 16, 224): "gelu",
    ("base", 16, 256): "gelu",
    ("base", 16, 384): "gelu",
    ("base", 16, 512): "gelu",
    ("large", 16, 256): "gelu",
    ("large", 16, 384): "gelu",
    ("large", 16, 512): "gelu_tanh",
    ("so400m", 14, 224): "gelu",
    ("so400m", 14, 378): "gelu",
    ("so400m", 14, 384): "gelu",
    ("so400m", 16, 256): "gelu_tanh",
    ("so400m", 16, 384): "gelu_tanh",
    ("so400m", 16, 512): "gelu_tanh",
    ("giantopt", 16, 256): "gelu_tanh",
    ("giantopt", 16, 384): "gelu_tanh",
}
_TOWERS_BY_NAME = {
    f"vit_{size}_patch{p}_siglip_{side}": (size, p, side) for size, p, side in _ACTIVATIONS
}

TOWER_NAMES: Collection[str] = _TOWERS_BY_NAME.keys()
"""timm's names of the towers that `tower` knows."""


def tower_config(name: str) -> ViTConfig:
    """The tower that timm makes for one of `TOWER_NAMES`.

    Raises:
        ConfigError: Its patches do not fill its images.
    """
    key = _TOWERS_BY_NAME[name]
    size, patch_size, image_size = key
    width, layers, heads, mlp_width = _TOWER_SIZES[size]
    return ViTConfig(
        image_size=image_size,
        patch_size=patch_size,
        width=width,
        layers=layers,
        heads=heads,
        mlp_width=mlp_width,
        activation=_ACTIVATIONS[key],
        norm_eps=1e-6,
        pooling="attention",
        projection="none",
    )


def find_tower_name(config: ViTConfig) -> str:
    """The name of a tower in timm.

    Raises:
        CheckpointError: It has none.
    """
    if config.mlp_width == 4 * config.width:
        config = replace(config, mlp_width=None)
    for name, (size, patch_size, image_size) in _TOWERS_BY_NAME.items():
        same_images = (patch_size, image_size) == (config.patch_size, config.image_size)
        if (
            same_images
            and _TOWER_SIZES[size].width == config.width
            and tower_config(name) == config
        ):
            return name
    raise CheckpointError(
        f"image tower: got {config.layers} layers of width {config.width} with {config.heads} "
        f"heads, {config.activation}, {config.image_size} px in patches of {config.patch_size}, "
        "expected a SigLIP tower that timm has a name for"
    )


def key_map(config: ViTConfig) -> list[KeyMapping]:
    """Map each tensor of the image tower to timm's names."""
    ours, width, patch = "image_tower", config.width, config.patch_size
    patches = (config.image_size // patch) ** 2
    found = [
        reshaped(
            f"{ours}.patch_embedding.weight",
            f"{TRUNK_PREFIX}.patch_embed.proj.weight",
            ours=(width, 3 * patch**2),
            theirs=(width, 3, patch, patch),
        ),
        renamed(f"{ours}.patch_embedding.bias", f"{TRUNK_PREFIX}.patch_embed.proj.bias"),
        reshaped(
            f"{ours}.positional_embedding",
            f"{TRUNK_PREFIX}.pos_embed",
            ours=(patches, width),
            theirs=(1, patches, width),
        ),
        reshaped(
            f"{ours}.pool.query",
            f"{TRUNK_PREFIX}.attn_pool.latent",
            ours=(width,),
            theirs=(1, 1, width),
        ),
    ]
    for i in range(config.layers):
        found += _modules_key_map(
            f"{ours}.transformer.blocks.{i}", f"{TRUNK_PREFIX}.blocks.{i}", _BLOCK_MODULES
        )
    return found + _modules_key_map(ours, TRUNK_PREFIX, _OTHER_MODULES)


_BLOCK_MODULES = {
    "attention_norm": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "mlp_norm": "norm2",
    "mlp.expand": "mlp.fc1",
    "mlp.contract": "mlp.fc2",
}
_OTHER_MODULES = {
    "post_norm": "norm",
    "pool.query_projection": "attn_pool.q",
    "pool.key_value": "attn_pool.kv",
    "pool.out": "attn_pool.proj",
    "pool.norm": "attn_pool.norm",
    "pool.mlp.expand": "attn_pool.mlp.fc1",
    "pool.mlp.contract": "attn_pool.mlp.fc2",
}


def _modules_key_map(ours: str, theirs: str, names: dict[str, str]) -> list[KeyMapping]:
    """Map linear layers and norms by their names here and in timm."""
    return [
        mapping
        for name, other in names.items()
        for mapping in weight_and_bias(f"{ours}.{name}", f"{theirs}.{other}")
    ]
