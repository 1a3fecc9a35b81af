"""The weights that a configuration needs: names, shapes and types, without torch and memory.

`tests/checkpoints/test_expected_weights.py` holds them to the state dict of the torch model.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config import CLIPConfig, ResNetConfig, TextConfig, ViTConfig

_Shapes = Iterator[tuple[str, tuple[int, ...]]]

_EXPANSION = 4
"""Output channels of a bottleneck for each of its width."""


def expected_weights(config: CLIPConfig) -> dict[str, Array]:
    """The names of a model's weights, each with an array of its shape and type.

    The arrays take no memory; their numbers mean nothing. The order is that of a state dict.
    """
    shapes: dict[str, tuple[int, ...]] = {"logit_scale": ()}
    if config.logit_bias:
        shapes["logit_bias"] = ()
    if config.vision is not None:
        resnet = isinstance(config.vision, ResNetConfig)
        vision = (_resnet if resnet else _vision_transformer)(config.vision, config.embed_dim)  # pyright: ignore[reportArgumentType]
        shapes |= {f"image_tower.{name}": shape for name, shape in vision}
    if config.text is not None:
        text = _text_transformer(config.text, config.embed_dim)
        shapes |= {f"text_tower.{name}": shape for name, shape in text}
    return {name: np.broadcast_to(_number(name), shape) for name, shape in shapes.items()}


def count_parameters(config: CLIPConfig) -> int:
    """The number of a model's parameters; running statistics are none."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    expected = expected_weights(config).items()
    return sum(array.size for name, array in expected if not name.endswith(buffers))


def _number(name: str) -> Array:
    return np.zeros((), np.int64 if name.endswith("num_batches_tracked") else np.float32)


def _linear(name: str, inputs: int, outputs: int) -> _Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> _Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _mlp(name: str, config: ViTConfig | TextConfig) -> _Shapes:
    inner = config.mlp_width or 4 * config.width
    yield from _linear(f"{name}.expand", config.width, inner)
    yield from _linear(f"{name}.contract", inner, config.width)


def _blocks(config: ViTConfig | TextConfig) -> _Shapes:
    width = config.width
    for number in range(config.layers):
        block = f"transformer.blocks.{number}"
        yield from _norm(f"{block}.attention_norm", width)
        yield from _linear(f"{block}.attention.qkv", width, 3 * width)
        yield from _linear(f"{block}.attention.out", width, width)
        yield from _norm(f"{block}.mlp_norm", width)
        yield from _mlp(f"{block}.mlp", config)


def _vision_transformer(config: ViTConfig, embed_dim: int) -> _Shapes:
    width, patches = config.width, (config.image_size // config.patch_size) ** 2
    has_class_token = config.pooling == "class"
    if has_class_token:
        yield "class_embedding", (width,)
    yield "positional_embedding", (patches + has_class_token, width)
    if config.projection == "linear":
        yield "projection", (width, embed_dim)
    yield "patch_embedding.weight", (width, 3 * config.patch_size**2)
    if has_class_token:
        yield from _norm("pre_norm", width)
    else:
        yield "patch_embedding.bias", (width,)
    yield from _blocks(config)
    yield from _norm("post_norm", width)
    if not has_class_token:
        yield "pool.query", (width,)
        yield from _linear("pool.query_projection", width, width)
        yield from _linear("pool.key_value", width, 2 * width)
        yield from _linear("pool.out", width, width)
        yield from _norm("pool.norm", width)
        yield from _mlp("pool.mlp", config)


def _text_transformer(config: TextConfig, embed_dim: int) -> _Shapes:
    width = config.width
    yield "positional_embedding", (config.context_length, width)
    if config.projection != "none":
        yield "projection", (width, embed_dim)
    if config.projection == "affine":
        yield "projection_bias", (embed_dim,)
    yield "token_embedding.weight", (config.vocab_size, width)
    yield from _blocks(config)
    yield from _norm("final_norm", width)


def _resnet(config: ResNetConfig, embed_dim: int) -> _Shapes:
    width = config.width
    yield from _conv_bn("stem.conv1", 3, width // 2, 3)
    yield from _conv_bn("stem.conv2", width // 2, width // 2, 3)
    yield from _conv_bn("stem.conv3", width // 2, width, 3)
    channels = width
    for stage, depth in enumerate(config.layers):
        inner = width * 2**stage
        for number in range(depth):
            block = f"stages.{stage}.{number}"
            yield from _bottleneck(block, channels, inner, is_first=number == 0)
            channels = _EXPANSION * inner
    positions = (config.image_size // 32) ** 2
    yield "attention_pool.positional_embedding", (positions + 1, channels)
    for name in ("query", "key", "value"):
        yield from _linear(f"attention_pool.{name}", channels, channels)
    yield from _linear("attention_pool.out", channels, embed_dim)


def _bottleneck(name: str, channels: int, inner: int, *, is_first: bool) -> _Shapes:
    yield from _conv_bn(f"{name}.reduce", channels, inner, 1)
    yield from _conv_bn(f"{name}.mix", inner, inner, 3)
    yield from _conv_bn(f"{name}.expand", inner, _EXPANSION * inner, 1)
    if is_first:
        yield from _conv_bn(f"{name}.shortcut.1", channels, _EXPANSION * inner, 1)


def _conv_bn(name: str, inputs: int, outputs: int, kernel: int) -> _Shapes:
    yield f"{name}.0.weight", (outputs, inputs, kernel, kernel)
    yield from _norm(f"{name}.1", outputs)
    yield f"{name}.1.running_mean", (outputs,)
    yield f"{name}.1.running_var", (outputs,)
    yield f"{name}.1.num_batches_tracked", ()
