"""Layers of OpenVINO graphs: what `model/layers.py` and `model/resnet.py` are in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from twinlens.checkpoints.formats.storage.arrays import DTYPES, Array, DType
from twinlens.config import TextConfig, ViTConfig
from twinlens.inference.openvino_runtime import openvino, ops

Node: TypeAlias = Any
"""A node of a tower."""

Transformer: TypeAlias = ViTConfig | TextConfig

FLOAT32, BFLOAT16 = DTYPES["float32"], DTYPES["bfloat16"]

_QUICK_GELU_SCALE = 1.702

_BATCH_NORM_EPS = 1e-5
"""torch's default, which the paper's ResNets use."""


class TowerBuilder:
    """Layers whose weights lie under one prefix."""

    def __init__(self, tensors: Mapping[str, Array], prefix: str, dtype: DType) -> None:
        self._tensors = tensors
        self._prefix = prefix
        self._dtype = dtype

    def has(self, name: str) -> bool:
        """True if there is such a weight."""
        return f"{self._prefix}.{name}" in self._tensors

    def array(self, name: str) -> Array:
        """A weight as float32."""
        return np.asarray(self._tensors[f"{self._prefix}.{name}"], np.float32)

    def weight(self, name: str) -> Node:
        """A weight as a constant."""
        return self.constant(self.array(name))

    def constant(self, array: Array) -> Node:
        """An array as a constant of the tower's type."""
        if self._dtype != BFLOAT16:
            return ops.constant(array)
        numbers = np.ascontiguousarray(array.astype(BFLOAT16)).view(np.uint16)
        shape = openvino.Shape(list(array.shape))
        tensor = openvino.Tensor(numbers, shape, openvino.Type.bf16)
        return openvino.op.Constant(tensor, shared_memory=False)

    def cast(self, x: Node) -> Node:
        """Convert an input to the tower's type."""
        return ops.convert(x, openvino.Type.bf16) if self._dtype == BFLOAT16 else x

    def linear(self, x: Node, name: str) -> Node:
        """A linear layer with a bias."""
        return self.affine(x, self.array(f"{name}.weight"), self.array(f"{name}.bias"))

    def affine(self, x: Node, weight: Array, bias: Array) -> Node:
        """A product with a weight [outputs, inputs], and a bias."""
        product = ops.matmul(x, self.constant(weight), False, True)
        return ops.add(product, self.constant(bias))

    def layer_norm(self, x: Node, name: str, eps: float) -> Node:
        """A layer norm over the last axis."""
        scaled = ops.multiply(normalise(x, eps), self.weight(f"{name}.weight"))
        return ops.add(scaled, self.weight(f"{name}.bias"))

    def patches(self, images: Node, config: ViTConfig) -> Node:
        """Non-overlapping patches through one linear map: [n, patch, width]."""
        size, side = config.patch_size, config.image_size // config.patch_size
        kernel = self.array("patch_embedding.weight").reshape(config.width, 3, size, size)
        grid = ops.convolution(images, self.constant(kernel), [size, size], [0, 0], [0, 0], [1, 1])
        flat = ops.reshape(grid, ints(0, config.width, side * side), True)
        rows = ops.transpose(flat, ints(0, 2, 1))
        if not self.has("patch_embedding.bias"):
            return rows
        return ops.add(rows, self.weight("patch_embedding.bias"))

    def embed(self, tokens: Node) -> Node:
        """The rows of the token embedding."""
        return ops.gather(self.weight("token_embedding.weight"), tokens, ints(0))

    def blocks(
        self, x: Node, config: Transformer, numbers: range, mask: Node | None = None
    ) -> Node:
        """Some pre-norm residual blocks of a transformer; `mask` is added to attention's scores."""
        for number in numbers:
            name = f"transformer.blocks.{number}"
            weight, bias = self.query_key_value(name, config)
            qkv = self.affine(normalise(x, config.norm_eps), weight, bias)
            mixed = attend(split_last(qkv, 3), config.heads, mask)
            x = ops.add(x, self.linear(mixed, f"{name}.attention.out"))
            x = self.mlp_residual(x, config, number)
        return x

    def prefix_block(
        self,
        x: Node,
        config: TextConfig,
        number: int,
        *,
        nodes: Node,
        first_occurrence: Node,
        mask: Node,
    ) -> Node:
        """A causal block of states [node, width]: see `prefix_tree_graph`.

        Queries, keys and values of a node are three rows of one table, so that a single gather
        gives all of them apart.
        """
        name = f"transformer.blocks.{number}"
        weight, bias = self.query_key_value(name, config)
        table = ops.reshape(
            self.affine(normalise(x, config.norm_eps), weight, bias), ints(-1, config.width), False
        )
        rows = ops.unsqueeze(ops.multiply(nodes, ints(3)), ints(0))
        rows = ops.add(rows, ops.constant(np.arange(3).reshape(3, 1, 1)))
        parts = ops.split(ops.gather(table, rows, ints(0)), ops.constant(np.int64(0)), 3).outputs()
        mixed = attend([ops.squeeze(part, ints(0)) for part in parts], config.heads, mask)
        states = ops.reshape(mixed, ints(-1, config.width), False)
        mixed = ops.gather(states, first_occurrence, ints(0))
        x = ops.add(x, self.linear(mixed, f"{name}.attention.out"))
        return self.mlp_residual(x, config, number)

    def last_block(
        self,
        x: Node,
        pooled: Node,
        config: Transformer,
        mask: Node | None = None,
        nodes: Node | None = None,
    ) -> Node:
        """The last block at one position of each row: the others need only keys and values.

        Args:
            x: States of every position [n, length, width], or of nodes [node, width].
            pooled: The state at the position [n, 1, width].
            config: The transformer's.
            mask: Added to the scores, [n, 1, 1, length]; nothing without it.
            nodes: The node at each position, [n, length].
        """
        number, width = config.layers - 1, config.width
        name = f"transformer.blocks.{number}"
        weight, bias = self.query_key_value(name, config)
        query = self.affine(normalise(pooled, config.norm_eps), weight[:width], bias[:width])
        both = self.affine(normalise(x, config.norm_eps), weight[width:], bias[width:])
        if nodes is not None:
            both = ops.gather(both, nodes, ints(0))
        mixed = attend([query, *split_last(both, 2)], config.heads, mask)
        x = ops.add(pooled, self.linear(mixed, f"{name}.attention.out"))
        return self.mlp_residual(x, config, number)

    def mlp_residual(self, x: Node, config: Transformer, number: int) -> Node:
        """The second half of a block."""
        name = f"transformer.blocks.{number}"
        return ops.add(x, self.mlp(x, f"{name}.mlp_norm", f"{name}.mlp", config))

    def project_text(self, pooled: Node, config: TextConfig) -> Node:
        """A text's last norm and its projection into the shared space."""
        features = self.layer_norm(pooled, "final_norm", config.norm_eps)
        if config.projection != "none":
            features = ops.matmul(features, self.weight("projection"), False, False)
        if config.projection == "affine":
            features = ops.add(features, self.weight("projection_bias"))
        return features

    def mlp(self, x: Node, norm: str, name: str, config: Transformer) -> Node:
        """A layer norm, and two linear layers with the configuration's activation."""
        weight, bias = self.folded(norm, f"{name}.expand")
        after = self.array(f"{name}.contract.weight")
        is_quick = config.activation == "quick_gelu"
        if is_quick:  # x sigmoid(1.702 x) is swish(1.702 x) / 1.702, which joins the product
            scale = np.float32(_QUICK_GELU_SCALE)
            weight, bias, after = weight * scale, bias * scale, after / scale
        hidden = self.affine(normalise(x, config.norm_eps), weight, bias)
        if is_quick:
            hidden = ops.swish(hidden, self.constant(np.array(1, np.float32)))
        else:
            hidden = ops.gelu(hidden, "tanh" if config.activation == "gelu_tanh" else "erf")
        return self.affine(hidden, after, self.array(f"{name}.contract.bias"))

    def folded(self, norm: str, linear: str) -> tuple[Array, Array]:
        """A linear layer's weight and bias that take in the gain and bias of the norm before."""
        weight = self.array(f"{linear}.weight")
        gain, shift = self.array(f"{norm}.weight"), self.array(f"{norm}.bias")
        return weight * gain, self.array(f"{linear}.bias") + weight @ shift

    def query_key_value(self, block: str, config: Transformer) -> tuple[Array, Array]:
        """Weight and bias of a block's projections, with the norm before and the scale after."""
        weight, bias = self.folded(f"{block}.attention_norm", f"{block}.attention.qkv")
        scale = np.ones(len(bias), np.float32)
        scale[: config.width] = query_scale(config.width, config.heads)
        return weight * scale[:, None], bias * scale

    def query(self, x: Node, name: str, heads: int) -> Node:
        """A projection to queries, scaled as attention wants them."""
        weight, bias = self.array(f"{name}.weight"), self.array(f"{name}.bias")
        scale = query_scale(len(bias), heads)
        return self.affine(x, weight * scale, bias * scale)

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
            x, self.constant(kernel), [stride, stride], padding, padding, [1, 1]
        )
        return ops.add(product, self.constant(channels(bias - mean * scale)))


def ints(*values: int) -> Node:
    """A constant of whole numbers, int64 [n]: shapes, axes, positions."""
    return ops.constant(np.array(values, np.int64))


def channels(values: Sequence[float] | Array) -> Array:
    """One value a channel, to be broadcast over images."""
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def average_pool(x: Node, stride: int) -> Node:
    """An average over squares of `stride`, which are not padded."""
    if stride == 1:
        return x
    return ops.avg_pool(x, [stride, stride], [0, 0], [0, 0], [stride, stride], False)


def normalise(x: Node, eps: float) -> Node:
    """Mean 0 and variance 1 over the last axis: a layer norm without gain and bias."""
    return ops.mvn(x, ints(-1), True, eps, "inside_sqrt")


def query_scale(width: int, heads: int) -> np.float32:
    """The factor of attention's scores: 1 / sqrt(head width)."""
    return np.float32((width // heads) ** -0.5)


def attend(qkv: Sequence[Node], heads: int, mask: Node | None = None) -> Node:
    """Multi-head attention of scaled queries, keys and values, each [n, length, width].

    In single operations: OpenVINO makes one kernel of them that also splits the heads, where its
    own `scaled_dot_product_attention` scales, and transposes if causal, in passes of their own.
    """
    query, key, value = (split_heads(part, heads) for part in qkv)
    scores = ops.matmul(query, key, False, True)
    if mask is not None:
        scores = ops.add(scores, mask)
    mixed = ops.matmul(ops.softmax(scores, -1), value, False, False)
    return ops.reshape(ops.transpose(mixed, ints(0, 2, 1, 3)), ints(0, 0, -1), True)


def split_heads(x: Node, heads: int) -> Node:
    """[n, length, width] to [n, heads, length, head width]."""
    return ops.transpose(ops.reshape(x, ints(0, 0, heads, -1), True), ints(0, 2, 1, 3))


def split_last(x: Node, count: int) -> list[Node]:
    """Equal parts of [n, length, parts width]."""
    return ops.split(x, ops.constant(np.int64(2)), count).outputs()


def axis_size(node: Node, axis: int) -> Node:
    """The size of an axis: int64 [1]."""
    return ops.gather(ops.shape_of(node), ints(axis), ints(0))
