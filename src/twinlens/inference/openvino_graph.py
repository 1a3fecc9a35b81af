"""OpenVINO graphs of the towers, built from a configuration and mapped weights without torch.

A graph computes what `model/` computes, operation by operation, for any batch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeAlias

import numpy as np

from twinlens.checkpoints.formats.storage.arrays import Array, DType
from twinlens.config import (
    CLIPConfig,
    PreprocessConfig,
    ResNetConfig,
    TextConfig,
    ViTConfig,
)
from twinlens.errors import ConfigError
from twinlens.inference.openvino_layers import (
    FLOAT32,
    Node,
    TowerBuilder,
    attend,
    average_pool,
    axis_size,
    channels,
    ints,
    split_last,
)
from twinlens.inference.openvino_runtime import openvino, ops
from twinlens.inference.outputs import hidden_block, require_output
from twinlens.text.prefix_tree import PackedTexts, causal_mask

Graph: TypeAlias = Any
"""An `openvino.Model`."""

PixelFormat: TypeAlias = Literal["normalised", "uint8"]

OUTPUT_NAMES = {"embedding": "embeddings", "features": "features", "patches": "patches"}
"""Names of the outputs of graphs; hidden states are `states`."""

_RESNET_PIXEL_STRIDE = 32

_ACTIVATIONS = ("quick_gelu", "gelu", "gelu_tanh")

_KNOWN_LAYERS: Mapping[type, Mapping[str, tuple[str, ...]]] = {
    ViTConfig: {
        "activation": _ACTIVATIONS,
        "pooling": ("class", "attention"),
        "projection": ("linear", "none"),
    },
    TextConfig: {
        "activation": _ACTIVATIONS,
        "pooling": ("highest", "end", "last"),
        "projection": ("linear", "affine", "none"),
    },
}
"""Layers of the graphs below, by the fields of the configurations that name them."""


def image_graph(
    config: CLIPConfig,
    tensors: Mapping[str, Array],
    *,
    pixels: PixelFormat = "normalised",
    output: str = "embedding",
    dtype: DType = FLOAT32,
) -> Graph:
    """Build the image tower.

    Args:
        config: The model's configuration, with an image tower.
        tensors: Its weights by our names, which begin with `image_tower.`.
        pixels: The input: "normalised" is `images` float32 [n, 3, size, size] as the torch model
            takes them; "uint8" is `pixels` [n, size, size, 3] in 0..255, normalised in the graph.
        output: "embedding" gives `embeddings` [n, embed_dim]; "features" what a linear probe reads
            (see `Embedder.probe_features`); "patches" and "hidden:N" see `hidden_block`.
        dtype: Type of the weights in the graph, and of its arithmetic; the output is float32.

    Raises:
        ConfigError: The tower has no such output.
    """
    vision = config.vision
    assert vision is not None
    require_output("image", output, config)
    require_known_layers(vision)
    inputs, images = _image_input(config.preprocess_config, pixels)
    tower = TowerBuilder(tensors, "image_tower", dtype)
    images = tower.cast(images)
    if isinstance(vision, ResNetConfig):
        found = _resnet(tower, images, vision, output)
    elif vision.pooling == "class":
        found = _vision_transformer(tower, images, vision, output)
    else:
        found = _siglip_transformer(tower, images, vision, output)
    return _model(found, inputs, output)


def require_known_layers(tower: ViTConfig | ResNetConfig | TextConfig) -> None:
    """Refuse a tower with a layer that no graph here has.

    Raises:
        ConfigError: It has one; the torch engine may know it.
    """
    for name, known in _KNOWN_LAYERS.get(type(tower), {}).items():
        got = getattr(tower, name)
        if got not in known:
            raise ConfigError(
                f"{name}: got {got!r}, which the openvino engine has not got, expected "
                f"{' or '.join(known)}; or engine='torch' (--engine torch)"
            )


def _image_input(config: PreprocessConfig, pixels: PixelFormat) -> tuple[Node, Node]:
    """The input of an image graph, and the normalised pixels [n, 3, size, size]."""
    size = config.image_size
    if pixels == "normalised":
        images = ops.parameter([-1, 3, size, size], np.float32, name="images")
        return images, images
    inputs = ops.parameter([-1, size, size, 3], np.uint8, name="pixels")
    planes = ops.transpose(ops.convert(inputs, np.float32), ints(0, 3, 1, 2))
    scaled = ops.divide(planes, ops.constant(np.float32(255)))
    centred = ops.subtract(scaled, ops.constant(channels(config.mean)))
    return inputs, ops.divide(centred, ops.constant(channels(config.std)))


def text_graph(
    config: CLIPConfig,
    tensors: Mapping[str, Array],
    *,
    output: str = "embedding",
    dtype: DType = FLOAT32,
) -> Graph:
    """Build the text tower, from `tokens` int64 [n, length] of any length up to the context.

    Args:
        config: The model's configuration, with a text tower.
        tensors: Its weights by our names, which begin with `text_tower.`.
        output: "embedding" gives `embeddings` float32 [n, embed_dim]; "hidden:N" see
            `hidden_block`.
        dtype: See `image_graph`.

    Raises:
        ConfigError: The tower has no such output.
    """
    text = config.text_config
    require_output("text", output, config)
    require_known_layers(text)
    tokens = ops.parameter([-1, [1, text.context_length]], np.int64, name="tokens")
    tower = TowerBuilder(tensors, "text_tower", dtype)
    length = axis_size(tokens, 1)
    positions = ops.slice(tower.weight("positional_embedding"), ints(0), length, ints(1), ints(0))
    x = ops.add(tower.embed(tokens), positions)
    mask = _causal_mask(tower, length, text) if text.causal else None
    if (block := hidden_block(output, text.layers)) is not None:
        return _model(tower.blocks(x, text, range(block), mask), tokens, output)
    x = tower.blocks(x, text, range(text.layers - 1), mask)
    ends = _end_positions(tokens, length, text)
    at_end = ops.gather(x, ends, ints(1), batch_dims=1)
    pooled = tower.last_block(x, at_end, text, None if mask is None else _rows_at(mask, ends))
    return _model(tower.project_text(ops.squeeze(pooled, ints(1)), text), tokens, output)


def prefix_tree_graph(
    config: CLIPConfig, tensors: Mapping[str, Array], *, dtype: DType = FLOAT32
) -> Graph:
    """Build a causal text tower that computes each distinct prefix of its texts once.

    The inputs are the arrays of `PackedTexts` by their names; the output is `embeddings` float32
    [text, embed_dim]. Products have one row a prefix; only attention, a small part of the work, is
    computed once a text.
    """
    text = config.text_config
    require_known_layers(text)
    tower = TowerBuilder(tensors, "text_tower", dtype)
    inputs = {
        field.name: ops.parameter(
            [-1, -1] if field.name in ("node_indices", "mask") else [-1],
            np.float32 if field.name == "mask" else np.int64,
            name=field.name,
        )
        for field in fields(PackedTexts)
    }
    nodes, mask = inputs["node_indices"], tower.cast(inputs["mask"])
    shared = {"nodes": nodes, "first_occurrence": inputs["first_occurrence"], "mask": mask}
    x = ops.add(
        tower.embed(inputs["tokens"]),
        ops.gather(tower.weight("positional_embedding"), inputs["positions"], ints(0)),
    )
    for number in range(text.layers - 1):
        x = tower.prefix_block(x, text, number, **shared)
    ends = ops.unsqueeze(inputs["end_positions"], ints(1))
    each = ops.reshape(nodes, ops.concat([axis_size(ends, 0), ints(-1)], 0), False)
    at_end = ops.gather(x, ops.gather(each, ends, ints(1), batch_dims=1), ints(0))
    of_one = ops.slice(mask, ints(0), axis_size(each, 1), ints(1), ints(1))
    pooled = tower.last_block(x, at_end, text, _rows_at(of_one, ends), each)
    features = tower.project_text(ops.squeeze(pooled, ints(1)), text)
    return _model(features, list(inputs.values()), "embedding")


def _model(found: Node, inputs: Node | list[Node], output: str) -> Graph:
    """A graph of these inputs; embeddings become unit vectors."""
    if found.output(0).get_element_type() != openvino.Type.f32:
        found = ops.convert(found, np.float32)
    if output == "embedding":
        found = ops.normalize_l2(found, ints(1), 1e-24, "add")
    inputs = inputs if isinstance(inputs, list) else [inputs]
    found.output(0).get_tensor().set_names({OUTPUT_NAMES.get(output, "states")})
    for node in inputs:
        node.output(0).get_tensor().set_names({node.get_friendly_name()})
    return openvino.Model([ops.result(found)], inputs, inputs[0].get_friendly_name())


def _causal_mask(tower: TowerBuilder, length: Node, config: TextConfig) -> Node:
    """The causal mask of a length, which is added to scores: [length, length]."""
    whole = tower.constant(causal_mask(config.context_length))
    corner = ops.concat([length, length], 0)
    return ops.slice(whole, ints(0, 0), corner, ints(1, 1), ints(0, 1))


def _rows_at(mask: Node, ends: Node) -> Node:
    """The mask's row of each text's end: [n, 1, 1, length] of ends [n, 1]."""
    return ops.unsqueeze(ops.gather(mask, ends, ints(0)), ints(1))


def _end_positions(tokens: Node, length: Node, config: TextConfig) -> Node:
    """The position at which each text is pooled: int64 [n, 1]."""
    if config.pooling == "last":
        batch = axis_size(tokens, 0)
        last = ops.subtract(length, ints(1))
        return ops.broadcast(ops.unsqueeze(last, ints(0)), ops.concat([batch, ints(1)], 0))
    if config.pooling == "end":
        tokens = ops.convert(ops.equal(tokens, ints(config.end_id or 0)), np.int32)
    found = ops.topk(tokens, ops.constant(1), 1, "max", "value", "i64", stable=True)
    return found.output(1)  # the first of equal ones


def _vision_transformer(tower: TowerBuilder, images: Node, config: ViTConfig, output: str) -> Node:
    """A ViT with a class token (paper section 2.4)."""
    patches = tower.patches(images, config)
    shape = ops.concat([axis_size(patches, 0), ints(1, config.width)], 0)
    first = ops.broadcast(tower.weight("class_embedding"), shape)
    x = ops.add(ops.concat([first, patches], 1), tower.weight("positional_embedding"))
    x = tower.layer_norm(x, "pre_norm", config.norm_eps)
    if (block := hidden_block(output, config.layers)) is not None:
        return tower.blocks(x, config, range(block))
    if output == "patches":
        x = tower.blocks(x, config, range(config.layers))
        x = ops.slice(x, ints(1), ints(2**31 - 1), ints(1), ints(1))
        return tower.layer_norm(x, "post_norm", config.norm_eps)
    x = tower.blocks(x, config, range(config.layers - 1))
    first = ops.slice(x, ints(0), ints(1), ints(1), ints(1))
    pooled = ops.squeeze(tower.last_block(x, first, config), ints(1))
    features = tower.layer_norm(pooled, "post_norm", config.norm_eps)
    if output == "features" or config.projection == "none":
        return features
    return ops.matmul(features, tower.weight("projection"), False, False)


def _siglip_transformer(tower: TowerBuilder, images: Node, config: ViTConfig, output: str) -> Node:
    """SigLIP's ViT: no class token, pooled by attention."""
    x = ops.add(tower.patches(images, config), tower.weight("positional_embedding"))
    if (block := hidden_block(output, config.layers)) is not None:
        return tower.blocks(x, config, range(block))
    x = tower.blocks(x, config, range(config.layers))
    x = tower.layer_norm(x, "post_norm", config.norm_eps)
    return x if output == "patches" else _attention_pooling_head(tower, x, config)


def _attention_pooling_head(tower: TowerBuilder, x: Node, config: ViTConfig) -> Node:
    """SigLIP's pooling: a learned query attends to all patches, followed by an MLP."""
    start = ops.unsqueeze(tower.weight("pool.query"), ints(0, 1))
    query = tower.query(start, "pool.query_projection", config.heads)
    keys_and_values = split_last(tower.linear(x, "pool.key_value"), 2)
    mixed = attend([query, *keys_and_values], config.heads)
    pooled = ops.squeeze(tower.linear(mixed, "pool.out"), ints(1))
    return ops.add(pooled, tower.mlp(pooled, "pool.norm", "pool.mlp", config))


def _resnet(tower: TowerBuilder, images: Node, config: ResNetConfig, output: str) -> Node:
    """ResNet-D with anti-aliased strides and attention pooling (paper section 2.4)."""
    x = images
    for name, stride in (("conv1", 2), ("conv2", 1), ("conv3", 1)):
        x = ops.relu(tower.conv_bn(x, f"stem.{name}", stride))
    x = average_pool(x, 2)
    for stage, depth in enumerate(config.layers):
        for block in range(depth):
            x = _bottleneck(tower, x, f"stages.{stage}.{block}", 2 if stage and not block else 1)
    width, positions = 32 * config.width, (config.image_size // _RESNET_PIXEL_STRIDE) ** 2
    x = ops.transpose(ops.reshape(x, ints(0, width, positions), True), ints(0, 2, 1))
    return x if output == "patches" else _attention_pool(tower, x, config)


def _bottleneck(tower: TowerBuilder, x: Node, name: str, stride: int) -> Node:
    h = ops.relu(tower.conv_bn(x, f"{name}.reduce"))
    h = average_pool(ops.relu(tower.conv_bn(h, f"{name}.mix")), stride)
    h = tower.conv_bn(h, f"{name}.expand")
    if tower.has(f"{name}.shortcut.1.0.weight"):
        x = tower.conv_bn(average_pool(x, stride), f"{name}.shortcut.1")
    return ops.relu(ops.add(h, x))


def _attention_pool(tower: TowerBuilder, x: Node, config: ResNetConfig) -> Node:
    """One round of attention whose query is the mean of all positions."""
    x = ops.concat([ops.reduce_mean(x, ints(1), True), x], 1)
    x = ops.add(x, tower.weight("attention_pool.positional_embedding"))
    first = ops.slice(x, ints(0), ints(1), ints(1), ints(1))
    query = tower.query(first, "attention_pool.query", config.heads)
    key, value = (tower.linear(x, f"attention_pool.{name}") for name in ("key", "value"))
    mixed = attend([query, key, value], config.heads)
    return tower.linear(ops.squeeze(mixed, ints(1)), "attention_pool.out")
