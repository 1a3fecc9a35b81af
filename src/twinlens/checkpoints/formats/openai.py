"""OpenAI's layout: names of tensors, and the architecture read from their shapes.

open_clip's own models keep it too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from twinlens.checkpoints.formats.key_map import Link, layer, module, number, reshaped, same
from twinlens.config import (
    Activation,
    CLIPConfig,
    PreprocessConfig,
    ResNetConfig,
    TextConfig,
    ViTConfig,
)
from twinlens.errors import CheckpointError

MARKS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives carry beside the weights, and no one else's files do."""

CUSTOM_TEXT = "text."
"""What text tensors' names begin with in open_clip's second layout, its `custom_text`."""

_HEAD_WIDTH = 64
_WIDE_HEADS = {1280: 16, 1408: 16, 1664: 16}
"""Heads of the image towers of ViT-H, ViT-g and ViT-bigG by their width: theirs are wider than 64,
which no shape tells."""


def links(config: CLIPConfig, *, text_prefix: str = "") -> list[Link]:
    """Where OpenAI's state dict keeps each tensor of a model.

    Args:
        config: The model's.
        text_prefix: What text tensors' names begin with: see `text_prefix_of`.
    """
    found: list[Link] = [number("logit_scale")]
    if config.logit_bias:
        found.append(number("logit_bias"))
    if isinstance(config.vision, ResNetConfig):
        found += resnet_links(config.vision)
    elif config.vision is not None:
        found += vit_links(config.vision)
    if config.text is not None:
        found += text_links(config.text, text_prefix)
    return found


def text_prefix_of(names: Iterable[str]) -> str:
    """What the names of text tensors begin with."""
    return CUSTOM_TEXT if any(name.startswith(CUSTOM_TEXT) for name in names) else ""


def ignored(name: str) -> bool:
    """Whether a tensor carries no weights: sizes, and the causal mask."""
    return name in MARKS or name.endswith("attn_mask")


def vit_links(config: ViTConfig) -> list[Link]:
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
        same(f"{ours}.class_embedding", f"{theirs}.class_embedding"),
        same(f"{ours}.positional_embedding", f"{theirs}.positional_embedding"),
        *layer(f"{ours}.pre_norm", f"{theirs}.ln_pre"),
        *block_links(f"{ours}.transformer", f"{theirs}.transformer", config.layers),
        *layer(f"{ours}.post_norm", f"{theirs}.ln_post"),
    ]
    if config.projection == "linear":
        found.append(same(f"{ours}.projection", f"{theirs}.proj"))
    return found


def text_links(config: TextConfig, prefix: str = "") -> list[Link]:
    """The text transformer; an affine projection is a linear layer, stored transposed."""
    ours = "text_tower"
    found = [
        same(f"{ours}.token_embedding.weight", f"{prefix}token_embedding.weight"),
        same(f"{ours}.positional_embedding", f"{prefix}positional_embedding"),
        *block_links(f"{ours}.transformer", f"{prefix}transformer", config.layers),
        *layer(f"{ours}.final_norm", f"{prefix}ln_final"),
    ]
    if config.projection == "linear":
        found.append(same(f"{ours}.projection", f"{prefix}text_projection"))
    return found


def block_links(ours: str, theirs: str, layers: int) -> list[Link]:
    """The residual blocks of either transformer."""
    found: list[Link] = []
    for i in range(layers):
        block, theirs_block = f"{ours}.blocks.{i}", f"{theirs}.resblocks.{i}"
        found += [
            *layer(f"{block}.attention_norm", f"{theirs_block}.ln_1"),
            same(f"{block}.attention.qkv.weight", f"{theirs_block}.attn.in_proj_weight"),
            same(f"{block}.attention.qkv.bias", f"{theirs_block}.attn.in_proj_bias"),
            *layer(f"{block}.attention.out", f"{theirs_block}.attn.out_proj"),
            *layer(f"{block}.mlp_norm", f"{theirs_block}.ln_2"),
            *layer(f"{block}.mlp.expand", f"{theirs_block}.mlp.c_fc"),
            *layer(f"{block}.mlp.contract", f"{theirs_block}.mlp.c_proj"),
        ]
    return found


def resnet_links(config: ResNetConfig) -> list[Link]:
    """The modified ResNet."""
    ours, theirs = "image_tower", "visual"
    found: list[Link] = []
    for i in (1, 2, 3):
        found += _conv_norm(f"{ours}.stem.conv{i}", f"{theirs}.conv{i}", f"{theirs}.bn{i}")
    for stage, depth in enumerate(config.layers):
        for j in range(depth):
            found += _bottleneck(
                f"{ours}.stages.{stage}.{j}", f"{theirs}.layer{stage + 1}.{j}", first=j == 0
            )
    pool = f"{ours}.attention_pool"
    found.append(same(f"{pool}.positional_embedding", f"{theirs}.attnpool.positional_embedding"))
    for name, short in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "c")):
        found += layer(f"{pool}.{name}", f"{theirs}.attnpool.{short}_proj")
    return found


def _bottleneck(ours: str, theirs: str, *, first: bool) -> list[Link]:
    found: list[Link] = []
    for i, name in enumerate(("reduce", "mix", "expand"), start=1):
        found += _conv_norm(f"{ours}.{name}", f"{theirs}.conv{i}", f"{theirs}.bn{i}")
    if first:  # a stage begins with another width, or a stride
        shortcut, downsample = f"{ours}.shortcut.1", f"{theirs}.downsample"
        found += _conv_norm(shortcut, f"{downsample}.0", f"{downsample}.1")
    return found


def _conv_norm(ours: str, convolution: str, norm: str) -> list[Link]:
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [same(f"{ours}.0.weight", f"{convolution}.weight"), *module(f"{ours}.1", norm, *names)]


def infer_config(tensors: Mapping[str, Tensor], activation: Activation) -> CLIPConfig:
    """The configuration that the shapes of OpenAI's tensors imply, or of open_clip's of its kind.

    Heads are 64 wide, as in all of OpenAI's models, but in image towers of widths that were only
    released with wider ones.

    Raises:
        CheckpointError: A tensor that tells a size is missing or has an unlikely shape, or the
            towers are of kinds that only a configuration tells.
        ConfigError: The sizes do not fit together.
    """
    text = text_prefix_of(tensors)
    for name in (f"{text}text_projection.weight", "visual.trunk.patch_embed.proj.weight"):
        if name in tensors:
            raise CheckpointError(
                f"got {name}, of a tower that open_clip takes from elsewhere, expected "
                "open_clip_config.json beside the weights: its sizes are not told by shapes"
            )
    vision = _infer_vision(tensors, activation)
    context_length, width = _shape(tensors, f"{text}positional_embedding", 2)
    return CLIPConfig(
        embed_dim=_shape(tensors, f"{text}text_projection", 2)[1],
        vision=vision,
        text=TextConfig(
            context_length=context_length,
            vocab_size=_shape(tensors, f"{text}token_embedding.weight", 2)[0],
            width=width,
            layers=_count(tensors, f"{text}transformer.resblocks."),
            heads=width // _HEAD_WIDTH,
            mlp_width=_mlp_width(tensors, f"{text}transformer", width),
            activation=activation,
        ),
        logit_bias="logit_bias" in tensors,
        preprocess=PreprocessConfig(image_size=vision.image_size),
    )


def heads_of_image_tower(width: int) -> int:
    """How many heads an image tower of this width was released with."""
    return _WIDE_HEADS.get(width, width // _HEAD_WIDTH)


def _mlp_width(tensors: Mapping[str, Tensor], transformer: str, width: int) -> int | None:
    name = f"{transformer}.resblocks.0.mlp.c_fc.bias"
    found = _shape(tensors, name, 1)[0] if name in tensors else 4 * width
    return None if found == 4 * width else found


def _infer_vision(
    tensors: Mapping[str, Tensor], activation: Activation
) -> ViTConfig | ResNetConfig:
    if "visual.attnpool.positional_embedding" in tensors:
        positions = _shape(tensors, "visual.attnpool.positional_embedding", 2)[0] - 1
        width = _shape(tensors, "visual.layer1.0.conv1.weight", 4)[0]
        one, two, three, four = (_count(tensors, f"visual.layer{i}.") for i in (1, 2, 3, 4))
        return ResNetConfig(
            image_size=32 * math.isqrt(positions),
            width=width,
            layers=(one, two, three, four),
            heads=width * 32 // _HEAD_WIDTH,
        )
    width, _, patch_size, _ = _shape(tensors, "visual.conv1.weight", 4)
    patches = _shape(tensors, "visual.positional_embedding", 2)[0] - 1
    return ViTConfig(
        image_size=patch_size * math.isqrt(patches),
        patch_size=patch_size,
        width=width,
        layers=_count(tensors, "visual.transformer.resblocks."),
        heads=heads_of_image_tower(width),
        mlp_width=_mlp_width(tensors, "visual.transformer", width),
        activation=activation,
    )


def _shape(tensors: Mapping[str, Tensor], name: str, axes: int) -> Sequence[int]:
    if name not in tensors:
        raise CheckpointError(f"state dict: got no {name}, expected OpenAI's names")
    shape = tensors[name].shape
    if len(shape) != axes or min(shape) < 1:
        raise CheckpointError(f"{name}: got shape {list(shape)}, expected {axes} axes")
    return shape


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules begin with the prefix."""
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
