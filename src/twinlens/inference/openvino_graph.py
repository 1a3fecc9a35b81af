"""OpenVINO graphs of the towers, built from a configuration and mapped weights without torch.

A graph computes what `model/` computes, operation by operation, for any batch size: `image_graph`
of normalised pixels, `text_graph` of token ids of any length up to the context. Both give unit
vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from twinlens.checkpoints.formats.storage.arrays import Array
from twinlens.config import CLIPConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.inference.openvino_runtime import openvino, ops

Graph: TypeAlias = Any
"""An `openvino.Model`."""

Node: TypeAlias = Any
"""A node of a tower."""

_BATCH_NORM_EPS = 1e-5
"""torch's default, which the paper's ResNets use."""

_RESNET_PIXEL_STRIDE = 32


def image_graph(config: CLIPConfig, tensors: Mapping[str, Array]) -> Graph:
    """Build the image tower: `images` float32 [n, 3, size, size] to `embeddings` [n, embed_dim].

    Args:
        config: The model's configuration, with an image tower.
        tensors: Its weights by our names, which begin with `image_tower.`.
    """
    size = config.preprocess_config.image_size
    images = ops.parameter([-1, 3, size, size], np.float32, name="images")
    tower = _TowerBuilder(tensors, "image_tower")
    if isinstance(config.vision, ResNetConfig):
        features = _resnet(tower, images, config.vision)
    else:
        assert config.vision is not None  # or there were no preprocessing
        features = _vision_transformer(tower, images, config.vision)
    return _model(features, images)


def text_graph(config: CLIPConfig, tensors: Mapping[str, Array]) -> Graph:
    """Build the text tower: `tokens` int64 [n, length] to `embeddings` float32 [n, embed_dim].

    Args:
        config: The model's configuration, with a text tower.
        tensors: Its weights by our names, which begin with `text_tower.`.
    """
    text = config.text_config
    tokens = ops.parameter([-1, [1, text.context_length]], np.int64, name="tokens")
    tower = _TowerBuilder(tensors, "text_tower")
    embedded = ops.gather(tower.weight("token_embedding.weight"), tokens, _ints(0))
    length = ops.gather(ops.shape_of(tokens), _ints(1), _ints(0))
    positions = ops.slice(
        tower.weight("positional_embedding"), _ints(0), length, _ints(1), _ints(0)
    )
    x = tower.blocks(ops.add(embedded, positions), text, causal=text.causal)
    pooled = ops.gather(x, _end_positions(tokens, length, text), _ints(1), batch_dims=1)
    features = tower.layer_norm(ops.squeeze(pooled, _ints(1)), "final_norm", text.norm_eps)
    if text.projection != "none":
        features = ops.matmul(features, tower.weight("projection"), False, False)
    if text.projection == "affine":
        features = ops.add(features, tower.weight("projection_bias"))
    return _model(features, tokens)


def _model(features: Node, inputs: Node) -> Graph:
    """A graph of one input that gives unit vectors."""
    # As torch's `normalize`, which divides by at least 1e-12.
    unit = ops.normalize_l2(features, _ints(1), 1e-24, "max")
    unit.output(0).get_tensor().set_names({"embeddings"})
    inputs.output(0).get_tensor().set_names({inputs.get_friendly_name()})
    return openvino.Model([ops.result(unit)], [inputs], inputs.get_friendly_name())


def _end_positions(tokens: Node, length: Node, config: TextConfig) -> Node:
    """The position at which each text is pooled: int64 [n, 1]."""
    if config.pooling == "last":
        batch = ops.gather(ops.shape_of(tokens), _ints(0), _ints(0))
        last = ops.subtract(length, _ints(1))
        return ops.broadcast(ops.unsqueeze(last, _ints(0)), ops.concat([batch, _ints(1)], 0))
    if config.pooling == "end":
        tokens = ops.convert(ops.equal(tokens, _ints(config.end_id or 0)), np.int32)
    found = ops.topk(tokens, ops.constant(1), 1, "max", "value", "i64", stable=True)
    return found.output(1)  # the first of equal ones


def _vision_transformer(tower: _TowerBuilder, images: Node, config: ViTConfig) -> Node:
    """A ViT with a class token (paper section 2.4), or SigLIP's with attention pooling."""
    has_class_token = config.pooling == "class"
    x = tower.patches(images, config)
    positions = tower.weight("positional_embedding")
    if has_class_token:
        batch = ops.gather(ops.shape_of(x), _ints(0), _ints(0))
        shape = ops.concat([batch, _ints(1, config.width)], 0)
        first = ops.broadcast(tower.weight("class_embedding"), shape)
        x = ops.concat([first, x], 1)
    x = ops.add(x, positions)
    if has_class_token:
        x = tower.layer_norm(x, "pre_norm", config.norm_eps)
    x = tower.blocks(x, config, causal=False)
    if not has_class_token:
        return _attention_pooling_head(tower, x, config)
    pooled = ops.gather(x, ops.constant(np.int64(0)), _ints(1))
    features = tower.layer_norm(pooled, "post_norm", config.norm_eps)
    if config.projection == "none":
        return features
    return ops.matmul(features, tower.weight("projection"), False, False)


def _attention_pooling_head(tower: _TowerBuilder, x: Node, config: ViTConfig) -> Node:
    """SigLIP's pooling: a learned query attends to all patches, followed by an MLP."""
    x = tower.layer_norm(x, "post_norm", config.norm_eps)
    start = ops.unsqueeze(tower.weight("pool.query"), _ints(0, 1))
    query = tower.linear(start, "pool.query_projection")
    both = tower.linear(x, "pool.key_value")
    key, value = ops.split(both, ops.constant(np.int64(2)), 2).outputs()
    heads = [_split_heads(part, config.heads, config.width) for part in (query, key, value)]
    batch = ops.gather(ops.shape_of(heads[1]), _ints(0), _ints(0))
    whole = ops.concat([batch, ops.slice(ops.shape_of(heads[0]), _ints(1), _ints(4), _ints(1))], 0)
    mixed = ops.scaled_dot_product_attention(ops.broadcast(heads[0], whole), *heads[1:])
    pooled = tower.linear(_merge_heads(mixed, config.width), "pool.out")
    pooled = ops.squeeze(pooled, _ints(1))
    normed = tower.layer_norm(pooled, "pool.norm", config.norm_eps)
    return ops.add(pooled, tower.mlp(normed, "pool.mlp", config))


def _resnet(tower: _TowerBuilder, images: Node, config: ResNetConfig) -> Node:
    """ResNet-D with anti-aliased strides and attention pooling (paper section 2.4)."""
    x = images
    for name, stride in (("conv1", 2), ("conv2", 1), ("conv3", 1)):
        x = ops.relu(tower.conv_bn(x, f"stem.{name}", stride))
    x = _average_pool(x, 2)
    for stage, depth in enumerate(config.layers):
        for block in range(depth):
            x = _bottleneck(tower, x, f"stages.{stage}.{block}", 2 if stage and not block else 1)
    return _attention_pool(tower, x, config)


def _bottleneck(tower: _TowerBuilder, x: Node, name: str, stride: int) -> Node:
    h = ops.relu(tower.conv_bn(x, f"{name}.reduce"))
    h = _average_pool(ops.relu(tower.conv_bn(h, f"{name}.mix")), stride)
    h = tower.conv_bn(h, f"{name}.expand")
    if tower.has(f"{name}.shortcut.1.0.weight"):
        x = tower.conv_bn(_average_pool(x, stride), f"{name}.shortcut.1")
    return ops.relu(ops.add(h, x))


def _attention_pool(tower: _TowerBuilder, x: Node, config: ResNetConfig) -> Node:
    """One round of attention whose query is the mean of all positions."""
    width = 32 * config.width
    positions = (config.image_size // _RESNET_PIXEL_STRIDE) ** 2
    x = ops.transpose(ops.reshape(x, _ints(0, width, positions), True), _ints(0, 2, 1))
    x = ops.concat([ops.reduce_mean(x, _ints(1), True), x], 1)
    x = ops.add(x, tower.weight("attention_pool.positional_embedding"))
    first = ops.slice(x, _ints(0), _ints(1), _ints(1), _ints(1))
    query, key, value = (
        _split_heads(tower.linear(part, f"attention_pool.{name}"), config.heads, width)
        for part, name in ((first, "query"), (x, "key"), (x, "value"))
    )
    mixed = ops.scaled_dot_product_attention(query, key, value)
    return tower.linear(ops.squeeze(_merge_heads(mixed, width), _ints(1)), "attention_pool.out")


class _TowerBuilder:
    """Layers whose weights lie under one prefix."""

    def __init__(self, tensors: Mapping[str, Array], prefix: str) -> None:
        self._tensors = tensors
        self._prefix = prefix

    def has(self, name: str) -> bool:
        """True if there is such a weight."""
        return f"{self._prefix}.{name}" in self._tensors

    def array(self, name: str) -> Array:
        """A weight as float32."""
        return np.asarray(self._tensors[f"{self._prefix}.{name}"], np.float32)

    def weight(self, name: str) -> Node:
        """A weight as a constant."""
        return ops.constant(self.array(name))

    def linear(self, x: Node, name: str) -> Node:
        """A linear layer with a bias."""
        product = ops.matmul(x, self.weight(f"{name}.weight"), False, True)
        return ops.add(product, self.weight(f"{name}.bias"))

    def layer_norm(self, x: Node, name: str, eps: float) -> Node:
        """A layer norm over the last axis."""
        normed = ops.mvn(x, _ints(-1), True, eps, "inside_sqrt")
        scaled = ops.multiply(normed, self.weight(f"{name}.weight"))
        return ops.add(scaled, self.weight(f"{name}.bias"))

    def patches(self, images: Node, config: ViTConfig) -> Node:
        """Non-overlapping patches through one linear map: [n, patch, width]."""
        size, side = config.patch_size, config.image_size // config.patch_size
        kernel = self.array("patch_embedding.weight").reshape(config.width, 3, size, size)
        grid = ops.convolution(images, ops.constant(kernel), [size, size], [0, 0], [0, 0], [1, 1])
        flat = ops.reshape(grid, _ints(0, config.width, side * side), True)
        rows = ops.transpose(flat, _ints(0, 2, 1))
        if not self.has("patch_embedding.bias"):
            return rows
        return ops.add(rows, self.weight("patch_embedding.bias"))

    def blocks(self, x: Node, config: ViTConfig | TextConfig, *, causal: bool) -> Node:
        """All pre-norm residual blocks of a transformer."""
        for number in range(config.layers):
            name = f"transformer.blocks.{number}"
            normed = self.layer_norm(x, f"{name}.attention_norm", config.norm_eps)
            x = ops.add(x, self.attention(normed, f"{name}.attention", config, causal=causal))
            normed = self.layer_norm(x, f"{name}.mlp_norm", config.norm_eps)
            x = ops.add(x, self.mlp(normed, f"{name}.mlp", config))
        return x

    def attention(
        self, x: Node, name: str, config: ViTConfig | TextConfig, *, causal: bool
    ) -> Node:
        """Multi-head self-attention."""
        parts = ops.split(self.linear(x, f"{name}.qkv"), ops.constant(np.int64(2)), 3).outputs()
        query, key, value = (_split_heads(part, config.heads, config.width) for part in parts)
        mixed = ops.scaled_dot_product_attention(query, key, value, causal=causal)
        return self.linear(_merge_heads(mixed, config.width), f"{name}.out")

    def mlp(self, x: Node, name: str, config: ViTConfig | TextConfig) -> Node:
        """Two linear layers with the configuration's activation."""
        hidden = _ACTIVATIONS[config.activation](self.linear(x, f"{name}.expand"))
        return self.linear(hidden, f"{name}.contract")

    def conv_bn(self, x: Node, name: str, stride: int = 1) -> Node:
        """A convolution with its batch normalisation folded into weight and bias."""
        mean, variance, gain, bias = (
            self.array(f"{name}.1.{part}")
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gain / np.sqrt(variance + _BATCH_NORM_EPS)
        kernel = self.array(f"{name}.0.weight") * scale[:, None, None, None]
        padding = [kernel.shape[-1] // 2] * 2
        product = ops.convolution(
            x, ops.constant(kernel), [stride, stride], padding, padding, [1, 1]
        )
        return ops.add(product, ops.constant(_channels(bias - mean * scale)))


_ACTIVATIONS: Mapping[str, Callable[[Node], Node]] = {
    "gelu": lambda x: ops.gelu(x, "erf"),
    "gelu_tanh": lambda x: ops.gelu(x, "tanh"),
    "quick_gelu": lambda x: ops.swish(x, ops.constant(np.float32(1.702))),
}


def _ints(*values: int) -> Node:
    return ops.constant(np.array(values, np.int64))


def _channels(values: Sequence[float] | Array) -> Array:
    """One value a channel, to be broadcast over images."""
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def _average_pool(x: Node, stride: int) -> Node:
    if stride == 1:
        return x
    return ops.avg_pool(x, [stride, stride], [0, 0], [0, 0], [stride, stride], False)


def _split_heads(x: Node, heads: int, width: int) -> Node:
    """[n, length, width] to [n, heads, length, head width]."""
    split = ops.reshape(x, _ints(0, 0, heads, width // heads), True)
    return ops.transpose(split, _ints(0, 2, 1, 3))


def _merge_heads(x: Node, width: int) -> Node:
    """[n, heads, length, head width] to [n, length, width]."""
    rows = ops.transpose(x, _ints(0, 2, 1, 3))
    return ops.reshape(rows, _ints(0, 0, width), True)
