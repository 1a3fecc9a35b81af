"""Floating-point operations of a model: all of its matrix products and convolutions.

A multiplication and its addition count as two, as in device data sheets. Norms, activations and
sums are left out: they are under one percent, and a device's peak does not include them. Causal
attention counts as full attention. `forward` is the cost of one pass; `backward` is twice that,
except for the first layer, whose pixels need no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from twinlens.config import ResNetConfig, TextConfig, ViTConfig


@dataclass(frozen=True, slots=True)
class Flops:
    """Operations of a forward pass, and the part of them whose input needs no gradient."""

    forward: float
    no_input_grad: float = 0.0

    @property
    def backward(self) -> float:
        """Operations backward: two products for each forward one, for the weights and the input."""
        return 2 * self.forward - self.no_input_grad

    @property
    def training(self) -> float:
        """Operations forward and backward."""
        return self.forward + self.backward

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.forward + other.forward, self.no_input_grad + other.no_input_grad)

    def scaled(self, factor: float) -> Flops:
        """Multiply all operations by a factor."""
        return Flops(self.forward * factor, self.no_input_grad * factor)


@dataclass(frozen=True, slots=True)
class BottleneckShape:
    """A residual block: its channels, and the side of its feature map before and after."""

    in_channels: int
    width: int
    input_size: int
    output_size: int
    has_projection: bool

    @property
    def out_channels(self) -> int:
        """Output channels."""
        return 4 * self.width

    @property
    def flops(self) -> int:
        """Operations of its three or four convolutions for one image."""
        before = self.input_size**2 * self.width * (self.in_channels + 9 * self.width)
        after = (
            self.output_size**2
            * self.out_channels
            * (self.width + self.has_projection * self.in_channels)
        )
        return 2 * (before + after)


def num_patches(config: ViTConfig, patch_dropout: float = 0.0) -> int:
    """Count the patches of an image that are computed."""
    patches = (config.image_size // config.patch_size) ** 2
    return max(1, round(patches * (1 - patch_dropout)))


def block_flops(
    config: ViTConfig | TextConfig, length: float, *, pooled: bool = True
) -> list[Flops]:
    """Count the operations of each block of a transformer for one sequence.

    If it is pooled at one position, the last block computes that position alone.
    """
    num_queries = 1 if pooled else length
    before = [Flops(_transformer_block_flops(config, length, length))] * (config.layers - 1)
    return [*before, Flops(_transformer_block_flops(config, length, num_queries))]


def sum_flops(flops: Iterable[Flops]) -> Flops:
    """Add up operations."""
    return sum(flops, Flops(0))


def _transformer_block_flops(
    config: ViTConfig | TextConfig, length: float, num_queries: float
) -> float:
    """Count queries, keys and values of all positions, and the rest for `num_queries` of them."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    per_query = width * (width + 2 * mlp) + 2 * length * width
    return 2 * (length * width * 3 * width + num_queries * per_query)


def num_text_positions(config: TextConfig, tokens: float) -> float:
    """Count the positions computed for a text: all if the tower needs the full context."""
    needs_full_context = config.pooling == "last" or not config.causal
    return config.context_length if needs_full_context else min(tokens, config.context_length)


def text_flops(config: TextConfig, embed_dim: int, tokens: float) -> Flops:
    """Count the operations for one text of so many tokens."""
    return sum_flops(text_layer_flops(config, embed_dim, tokens))


def text_layer_flops(config: TextConfig, embed_dim: int, tokens: float) -> list[Flops]:
    """Count the operations for one text by layer, numbered as in `adapt.layer_indices`."""
    length = num_text_positions(config, tokens)
    head = 2 * config.width * embed_dim if config.projection != "none" else 0
    return [Flops(0), *block_flops(config, length), Flops(head)]


def image_flops(
    config: ViTConfig | ResNetConfig, embed_dim: int, patch_dropout: float = 0.0
) -> Flops:
    """Count the operations for one image."""
    return sum_flops(image_layer_flops(config, embed_dim, patch_dropout))


def image_layer_flops(
    config: ViTConfig | ResNetConfig, embed_dim: int, patch_dropout: float = 0.0
) -> list[Flops]:
    """Count the operations for one image by layer, numbered as in `adapt.layer_indices`."""
    if isinstance(config, ResNetConfig):
        return _resnet_layer_flops(config, embed_dim)
    patches, width = num_patches(config, patch_dropout), config.width
    embedding = 2 * patches * 3 * config.patch_size**2 * width
    first = Flops(embedding, embedding)
    if config.pooling == "attention":
        blocks = block_flops(config, patches, pooled=False)
        return [first, *blocks, Flops(_attention_pool_flops(config, patches))]
    head = 2 * width * embed_dim if config.projection != "none" else 0
    return [first, *block_flops(config, patches + 1), Flops(head)]


def _attention_pool_flops(config: ViTConfig, patches: int) -> int:
    """Count the operations of SigLIP's pooling: one query, all patches, and an MLP."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    linear = 2 * width * (width + 2 * width * patches + width + 2 * mlp)
    return linear + 2 * 2 * patches * width


def _resnet_layer_flops(config: ResNetConfig, embed_dim: int) -> list[Flops]:
    half, area = config.width // 2, (config.image_size // 2) ** 2
    first, rest = 2 * 9 * 3 * half * area, 2 * 9 * half * (half + config.width) * area
    blocks = [Flops(block.flops) for block in iter_bottlenecks(config)]
    width, positions = 32 * config.width, (config.image_size // 32) ** 2 + 1
    pool = 2 * width * (width + 2 * width * positions + embed_dim) + 2 * 2 * positions * width
    return [Flops(first + rest, first), *blocks, Flops(pool)]


def iter_bottlenecks(config: ResNetConfig) -> Iterator[BottleneckShape]:
    """Yield every residual block, in order."""
    channels, side = config.width, config.image_size // 4
    for stage, depth in enumerate(config.layers):
        for block in range(depth):
            out_side = side // 2 if block == 0 and stage > 0 else side
            shape = BottleneckShape(channels, config.width * 2**stage, side, out_side, block == 0)
            yield shape
            channels, side = shape.out_channels, out_side
