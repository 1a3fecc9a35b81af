"""SigLIP's image towers in timm, which tells their sizes by a name and keeps none in a file.

The numbers are those of the functions of these names in `timm/models/vision_transformer.py`, timm
1.0.31. All have biases, norms with 1e-6, no class token, and as many heads in the pool as in the
blocks. The activation is timm's too: all of SigLIP was trained with the approximation, but where
timm does not say `gelu_tanh` its towers compute the exact function, and so do we.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

from twinlens.checkpoints.formats.key_map import Link, layer, reshaped, same
from twinlens.config import Activation, ViTConfig
from twinlens.errors import CheckpointError

TRUNK = "visual.trunk"


class _Size(NamedTuple):
    width: int
    layers: int
    heads: int
    mlp_width: int | None  # four times the width where it is None


_SIZES = {
    "base": _Size(768, 12, 12, None),
    "large": _Size(1024, 24, 16, None),
    "so400m": _Size(1152, 27, 16, 4304),
    "giantopt": _Size(1536, 40, 16, None),
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
_KEYS = {f"vit_{size}_patch{p}_siglip_{side}": (size, p, side) for size, p, side in _ACTIVATIONS}

NAMES: Collection[str] = _KEYS.keys()
"""timm's names of the towers that `tower` knows."""


def tower(name: str) -> ViTConfig:
    """The tower that timm makes for one of `NAMES`.

    Raises:
        ConfigError: Its patches do not fill its images.
    """
    key = _KEYS[name]
    size, patch_size, image_size = key
    width, layers, heads, mlp_width = _SIZES[size]
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


def count_blocks(names: Iterable[str]) -> int:
    """How many numbered blocks of the image tower there are tensors of."""
    prefix = f"{TRUNK}.blocks."
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})


def name_of(config: ViTConfig) -> str:
    """The name of a tower in timm.

    Raises:
        CheckpointError: It has none.
    """
    if config.mlp_width == 4 * config.width:
        config = replace(config, mlp_width=None)
    for name, (size, patch_size, image_size) in _KEYS.items():
        same_images = (patch_size, image_size) == (config.patch_size, config.image_size)
        if same_images and _SIZES[size].width == config.width and tower(name) == config:
            return name
    raise CheckpointError(
        f"image tower: got {config.layers} layers of width {config.width} with {config.heads} "
        f"heads, {config.activation}, {config.image_size} px in patches of {config.patch_size}, "
        "expected a SigLIP tower that timm has a name for"
    )


def links(config: ViTConfig) -> list[Link]:
    """Where timm keeps each tensor of the image tower."""
    ours, width, patch = "image_tower", config.width, config.patch_size
    patches = (config.image_size // patch) ** 2
    found = [
        reshaped(
            f"{ours}.patch_embedding.weight",
            f"{TRUNK}.patch_embed.proj.weight",
            ours=(width, 3 * patch**2),
            theirs=(width, 3, patch, patch),
        ),
        same(f"{ours}.patch_embedding.bias", f"{TRUNK}.patch_embed.proj.bias"),
        reshaped(
            f"{ours}.positional_embedding",
            f"{TRUNK}.pos_embed",
            ours=(patches, width),
            theirs=(1, patches, width),
        ),
        reshaped(
            f"{ours}.pool.query", f"{TRUNK}.attn_pool.latent", ours=(width,), theirs=(1, 1, width)
        ),
    ]
    for i in range(config.layers):
        found += _named(f"{ours}.transformer.blocks.{i}", f"{TRUNK}.blocks.{i}", _BLOCK)
    return found + _named(ours, TRUNK, _REST)


_BLOCK = {
    "attention_norm": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "mlp_norm": "norm2",
    "mlp.expand": "mlp.fc1",
    "mlp.contract": "mlp.fc2",
}
_REST = {
    "post_norm": "norm",
    "pool.query_projection": "attn_pool.q",
    "pool.key_value": "attn_pool.kv",
    "pool.out": "attn_pool.proj",
    "pool.norm": "attn_pool.norm",
    "pool.mlp.expand": "attn_pool.mlp.fc1",
    "pool.mlp.contract": "attn_pool.mlp.fc2",
}


def _named(ours: str, theirs: str, names: dict[str, str]) -> list[Link]:
    """Linear layers and norms, by what each side calls them."""
    return [
        link
        for name, other in names.items()
        for link in layer(f"{ours}.{name}", f"{theirs}.{other}")
    ]
