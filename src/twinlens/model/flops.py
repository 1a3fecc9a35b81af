"""Floating-point operations of a model: its matrix products and convolutions, to the last one.

A multiplication and its addition count as two, as in device data sheets. Norms, activations and
sums are left out: they are under one percent and not what a device's peak is about. Attention
counts whole, also where it is causal. `forward` is what one pass costs; `backward` is twice
that, but for the first layer, whose pixels want no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from twinlens.config import ResNetConfig, TextConfig, ViTConfig


@dataclass(frozen=True, slots=True)
class Flops:
    """Operations forward, and those that are only done forward because no gradient is wanted."""

    forward: float
    no_input_grad: float = 0.0

    @property
    def backward(self) -> float:
        """For each product forward, one for its weights' gradient and one for its input's."""
        return 2 * self.forward - self.no_input_grad

    @property
    def training(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.forward + other.forward, self.no_input_grad + other.no_input_grad)

    def scaled(self, factor: float) -> Flops:
        """So many of it."""
        return Flops(self.forward * factor, self.no_input_grad * factor)


@dataclass(frozen=True, slots=True)
class BottleneckShape:
    """One residual block: channels in and within, the side of its map before and after."""

    in_channels: int
    width: int
    input_size: int
    output_size: int
    has_projection: bool

    @property
    def out_channels(self) -> int:
        """Channels out."""
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
    """Patches of an image that are computed."""
    patches = (config.image_size // config.patch_size) ** 2
    return max(1, round(patches * (1 - patch_dropout)))


def block_flops(
    config: ViTConfig | TextConfig, length: float, *, pooled: bool = True
) -> list[Flops]:
    """Each block of a transformer for one sequence.

    Where one position of it is read, the last block answers there alone.
    """
    asked = 1 if pooled else length
    before = [Flops(_transformer_block_flops(config, length, length))] * (config.layers - 1)
    return [*before, Flops(_transformer_block_flops(config, length, asked))]


def sum_flops(flops: Iterable[Flops]) -> Flops:
    """All of them together."""
    return sum(flops, Flops(0))


def _transformer_block_flops(
    config: ViTConfig | TextConfig, length: float, num_queries: float
) -> float:
    """Queries, keys and values of all positions; what follows, of those that are asked for."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    answers = width * (width + 2 * mlp) + 2 * length * width
    return 2 * (length * width * 3 * width + num_queries * answers)


def num_text_positions(config: TextConfig, tokens: float) -> float:
    """Positions computed for a text: all, where the tower wants its whole context."""
    whole = config.pooling == "last" or not config.causal
    return config.context_length if whole else min(tokens, config.context_length)


def text_flops(config: TextConfig, embed_dim: int, tokens: float) -> Flops:
    """One text of so many tokens."""
    return sum_flops(text_layer_flops(config, embed_dim, tokens))


def text_layer_flops(config: TextConfig, embed_dim: int, tokens: float) -> list[Flops]:
    """The same, layer by layer; they are numbered as those of `adapt.layer_indices`."""
    length = num_text_positions(config, tokens)
    head = 2 * config.width * embed_dim if config.projection != "none" else 0
    return [Flops(0), *block_flops(config, length), Flops(head)]


def image_flops(
    config: ViTConfig | ResNetConfig, embed_dim: int, patch_dropout: float = 0.0
) -> Flops:
    """One image."""
    return sum_flops(image_layer_flops(config, embed_dim, patch_dropout))


def image_layer_flops(
    config: ViTConfig | ResNetConfig, embed_dim: int, patch_dropout: float = 0.0
) -> list[Flops]:
    """The same, layer by layer; they are numbered as those of `adapt.layer_indices`."""
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
    """SigLIP's: one query, all patches, and an MLP."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    linear = 2 * width * (width + 2 * width * patches + width + 2 * mlp)
    return linear + 2 * 2 * patches * width


def _resnet_layer_flops(config: ResNetConfig, embed_dim: int) -> list[Flops]:
    half, area = config.width // 2, (config.image_size // 2) ** 2
    first, rest = 2 * 9 * 3 * half * area, 2 * 9 * half * (half + config.width) * area
    blocks = [Flops(block.flops) for block in iter_bottlenecks(config)]
    width, places = 32 * config.width, (config.image_size // 32) ** 2 + 1
    pool = 2 * width * (width + 2 * width * places + embed_dim) + 2 * 2 * places * width
    return [Flops(first + rest, first), *blocks, Flops(pool)]


def iter_bottlenecks(config: ResNetConfig) -> Iterator[BottleneckShape]:
    """Every residual block, in order."""
    channels, side = config.width, config.image_size // 4
    for stage, depth in enumerate(config.layers):
        for block in range(depth):
            pooled = side // 2 if block == 0 and stage > 0 else side
            shape = BottleneckShape(channels, config.width * 2**stage, side, pooled, block == 0)
            yield shape
            channels, side = shape.out_channels, pooled
