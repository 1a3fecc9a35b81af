"""OpenAI's layout: names of tensors, and the architecture read from their shapes.

open_clip's own models keep it too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial

from twinlens.checkpoints.formats.key_map import (
    KeyMapping,
    module_key_map,
    renamed,
    reshaped,
    weight_and_bias,
)
from twinlens.checkpoints.formats.shapes import count_numbered, shape_of
from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config import (
    Activation,
    CLIPConfig,
    PreprocessConfig,
    ResNetConfig,
    TextConfig,
    ViTConfig,
)
from twinlens.errors import CheckpointError

ARCHIVE_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that only OpenAI's archives hold next to the weights."""

CUSTOM_TEXT_PREFIX = "text."
"""Prefix of text tensors' names in open_clip's second layout, its `custom_text`."""

_HEAD_DIM = 64
_HEADS_BY_WIDTH = {1280: 16, 1408: 16, 1664: 16}
"""Heads of the image towers of ViT-H, ViT-g and ViT-bigG by their width: theirs are wider than 64,
which no shape shows."""


def find_text_prefix(names: Iterable[str]) -> str:
    """The prefix of text tensors' names, perhaps empty."""
    return CUSTOM_TEXT_PREFIX if any(name.startswith(CUSTOM_TEXT_PREFIX) for name in names) else ""


def is_ignored(name: str) -> bool:
    """True for tensors without weights: sizes, and the causal mask."""
    return name in ARCHIVE_KEYS or name.endswith("attn_mask")


def vit_key_map(config: ViTConfig) -> list[KeyMapping]:
    """The vision transformer."""
    ours, theirs = "image_tower", "visual"
    size, pixels = config.patch_size, 3 * config.patch_size**2
    found = [
        reshaped(
            f"{ours}.patch_embedding.weight",
            f"{theirs}.conv1.weight",
            ours=(config.width, pixels),
            theirs=(config.width, 3, size, size),
        ),
        renamed(f"{ours}.class_embedding", f"{theirs}.class_embedding"),
        renamed(f"{ours}.positional_embedding", f"{theirs}.positional_embedding"),
        *weight_and_bias(f"{ours}.pre_norm", f"{theirs}.ln_pre"),
        *block_key_map(f"{ours}.transformer", f"{theirs}.transformer", config.layers),
        *weight_and_bias(f"{ours}.post_norm", f"{theirs}.ln_post"),
    ]
    if config.projection == "linear":
        found.append(renamed(f"{ours}.projection", f"{theirs}.proj"))
    return found


def text_key_map(config: TextConfig, prefix: str = "") -> list[KeyMapping]:
    """The text transformer; an affine projection is a linear layer, stored transposed."""
    ours = "text_tower"
    found = [
        renamed(f"{ours}.token_embedding.weight", f"{prefix}token_embedding.weight"),
        renamed(f"{ours}.positional_embedding", f"{prefix}positional_embedding"),
        *block_key_map(f"{ours}.transformer", f"{prefix}transformer", config.layers),
        *weight_and_bias(f"{ours}.final_norm", f"{prefix}ln_final"),
    ]
    if config.projection == "linear":
        found.append(renamed(f"{ours}.projection", f"{prefix}text_projection"))
    return found


def block_key_map(ours: str, theirs: str, layers: int) -> list[KeyMapping]:
    """The residual blocks of either transformer."""
    found: list[KeyMapping] = []
    for i in range(layers):
        block, theirs_block = f"{ours}.blocks.{i}", f"{theirs}.resblocks.{i}"
        found += [
            *weight_and_bias(f"{block}.attention_norm", f"{theirs_block}.ln_1"),
            renamed(f"{block}.attention.qkv.weight", f"{theirs_block}.attn.in_proj_weight"),
            renamed(f"{block}.attention.qkv.bias", f"{theirs_block}.attn.in_proj_bias"),
            *weight_and_bias(f"{block}.attention.out", f"{theirs_block}.attn.out_proj"),
            *weight_and_bias(f"{block}.mlp_norm", f"{theirs_block}.ln_2"),
            *weight_and_bias(f"{block}.mlp.expand", f"{theirs_block}.mlp.c_fc"),
            *weight_and_bias(f"{block}.mlp.contract", f"{theirs_block}.mlp.c_proj"),
        ]
    return found


def resnet_key_map(config: ResNetConfig) -> list[KeyMapping]:
    """The modified ResNet."""
    ours, theirs = "image_tower", "visual"
    found: list[KeyMapping] = []
    for i in (1, 2, 3):
        found += _conv_norm_key_map(f"{ours}.stem.conv{i}", f"{theirs}.conv{i}", f"{theirs}.bn{i}")
    for stage, depth in enumerate(config.layers):
        for j in range(depth):
            found += _bottleneck_key_map(
                f"{ours}.stages.{stage}.{j}", f"{theirs}.layer{stage + 1}.{j}", is_first=j == 0
            )
    pool = f"{ours}.attention_pool"
    found.append(renamed(f"{pool}.positional_embedding", f"{theirs}.attnpool.positional_embedding"))
    for name, short in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "c")):
        found += weight_and_bias(f"{pool}.{name}", f"{theirs}.attnpool.{short}_proj")
    return found


def _bottleneck_key_map(ours: str, theirs: str, *, is_first: bool) -> list[KeyMapping]:
    found: list[KeyMapping] = []
    for i, name in enumerate(("reduce", "mix", "expand"), start=1):
        found += _conv_norm_key_map(f"{ours}.{name}", f"{theirs}.conv{i}", f"{theirs}.bn{i}")
    if is_first:  # a stage begins with another width, or a stride
        shortcut, downsample = f"{ours}.shortcut.1", f"{theirs}.downsample"
        found += _conv_norm_key_map(shortcut, f"{downsample}.0", f"{downsample}.1")
    return found


def _conv_norm_key_map(ours: str, convolution: str, norm: str) -> list[KeyMapping]:
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [
        renamed(f"{ours}.0.weight", f"{convolution}.weight"),
        *module_key_map(f"{ours}.1", norm, *names),
    ]


_require_shape = partial(shape_of, family="OpenAI's")


def infer_config(tensors: Mapping[str, Array], activation: Activation) -> CLIPConfig:
    """The configuration that the shapes of OpenAI's tensors imply, or of open_clip's of its kind.

    Heads are 64 wide, as in all of OpenAI's models, but in image towers of widths that were only
    released with wider ones.

    Raises:
        CheckpointError: A tensor that sizes are read from is missing or has another number of
            axes, or the towers are of kinds that need a configuration.
        ConfigError: The sizes do not fit together.
    """
    text = find_text_prefix(tensors)
    for name in (f"{text}text_projection.weight", "visual.trunk.patch_embed.proj.weight"):
        if name in tensors:
            raise CheckpointError(
                f"got {name}, of a tower that open_clip takes from elsewhere, expected "
                "open_clip_config.json beside the weights: its sizes are not told by shapes"
            )
    vision = _infer_vision(tensors, activation)
    context_length, width = _require_shape(tensors, f"{text}positional_embedding", 2)
    return CLIPConfig(
        embed_dim=_require_shape(tensors, f"{text}text_projection", 2)[1],
        vision=vision,
        text=TextConfig(
            context_length=context_length,
            vocab_size=_require_shape(tensors, f"{text}token_embedding.weight", 2)[0],
            width=width,
            layers=count_numbered(tensors, f"{text}transformer.resblocks."),
            heads=width // _HEAD_DIM,
            mlp_width=_infer_mlp_width(tensors, f"{text}transformer", width),
            activation=activation,
        ),
        logit_bias="logit_bias" in tensors,
        preprocess=PreprocessConfig(image_size=vision.image_size),
    )


def image_tower_heads(width: int) -> int:
    """The number of heads of released image towers of this width."""
    return _HEADS_BY_WIDTH.get(width, width // _HEAD_DIM)


def _infer_mlp_width(tensors: Mapping[str, Array], transformer: str, width: int) -> int | None:
    name = f"{transformer}.resblocks.0.mlp.c_fc.bias"
    found = _require_shape(tensors, name, 1)[0] if name in tensors else 4 * width
    return None if found == 4 * width else found


def _infer_vision(tensors: Mapping[str, Array], activation: Activation) -> ViTConfig | ResNetConfig:
    if "visual.attnpool.positional_embedding" in tensors:
        positions = _require_shape(tensors, "visual.attnpool.positional_embedding", 2)[0] - 1
        width = _require_shape(tensors, "visual.layer1.0.conv1.weight", 4)[0]
        one, two, three, four = (count_numbered(tensors, f"visual.layer{i}.") for i in (1, 2, 3, 4))
        return ResNetConfig(
            image_size=32 * math.isqrt(positions),
            width=width,
            layers=(one, two, three, four),
            heads=width * 32 // _HEAD_DIM,
        )
    width, _, patch_size, _ = _require_shape(tensors, "visual.conv1.weight", 4)
    patches = _require_shape(tensors, "visual.positional_embedding", 2)[0] - 1
    return ViTConfig(
        image_size=patch_size * math.isqrt(patches),
        patch_size=patch_size,
        width=width,
        layers=count_numbered(tensors, "visual.transformer.resblocks."),
        heads=image_tower_heads(width),
        mlp_width=_infer_mlp_width(tensors, "visual.transformer", width),
        activation=activation,
    )
