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
class Cost:
    """Operations forward, and those that are only done forward because no gradient is wanted."""

    forward: float
    no_gradient: float = 0.0

    @property
    def backward(self) -> float:
        """For each product forward, one for its weights' gradient and one for its input's."""
        return 2 * self.forward - self.no_gradient

    @property
    def training(self) -> float:
        """Forward and backward."""
        return self.forward + self.backward

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forward + other.forward, self.no_gradient + other.no_gradient)

    def times(self, count: float) -> Cost:
        """So many of it."""
        return Cost(self.forward * count, self.no_gradient * count)


@dataclass(frozen=True, slots=True)
class BottleneckShape:
    """One residual block: channels in and within, the side of its map before and after."""

    inputs: int
    width: int
    side: int
    pooled: int
    projects: bool

    @property
    def outputs(self) -> int:
        """Channels out."""
        return 4 * self.width

    @property
    def flops(self) -> int:
        """Operations of its three or four convolutions for one image."""
        before = self.side**2 * self.width * (self.inputs + 9 * self.width)
        after = self.pooled**2 * self.outputs * (self.width + self.projects * self.inputs)
        return 2 * (before + after)


def patch_count(config: ViTConfig, dropout: float = 0.0) -> int:
    """Patches of an image that are computed."""
    patches = (config.image_size // config.patch_size) ** 2
    return max(1, round(patches * (1 - dropout)))


def blocks_cost(config: ViTConfig | TextConfig, length: float, *, pooled: bool = True) -> Cost:
    """All blocks of a transformer for one sequence; see `block_costs`."""
    return total(block_costs(config, length, pooled=pooled))


def block_costs(
    config: ViTConfig | TextConfig, length: float, *, pooled: bool = True
) -> list[Cost]:
    """Each block of a transformer for one sequence.

    Where one position of it is read, the last block answers there alone.
    """
    asked = 1 if pooled else length
    before = [Cost(_block_flops(config, length, length))] * (config.layers - 1)
    return [*before, Cost(_block_flops(config, length, asked))]


def total(costs: Iterable[Cost]) -> Cost:
    """All of them together."""
    return sum(costs, Cost(0))


def _block_flops(config: ViTConfig | TextConfig, length: float, asked: float) -> float:
    """Queries, keys and values of all positions; what follows, of those that are asked for."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    answers = width * (width + 2 * mlp) + 2 * length * width
    return 2 * (length * width * 3 * width + asked * answers)


def text_length(config: TextConfig, tokens: float) -> float:
    """Positions computed for a text: all, where the tower wants its whole context."""
    whole = config.pooling == "last" or not config.causal
    return config.context_length if whole else min(tokens, config.context_length)


def text_cost(config: TextConfig, embed_dim: int, tokens: float) -> Cost:
    """One text of so many tokens."""
    return total(text_layers(config, embed_dim, tokens))


def text_layers(config: TextConfig, embed_dim: int, tokens: float) -> list[Cost]:
    """The same, layer by layer; they are numbered as those of `adapt.layers_of`."""
    length = text_length(config, tokens)
    head = 2 * config.width * embed_dim if config.projection != "none" else 0
    return [Cost(0), *block_costs(config, length), Cost(head)]


def image_cost(config: ViTConfig | ResNetConfig, embed_dim: int, dropout: float = 0.0) -> Cost:
    """One image."""
    return total(image_layers(config, embed_dim, dropout))


def image_layers(
    config: ViTConfig | ResNetConfig, embed_dim: int, dropout: float = 0.0
) -> list[Cost]:
    """The same, layer by layer; they are numbered as those of `adapt.layers_of`."""
    if isinstance(config, ResNetConfig):
        return _resnet_layers(config, embed_dim)
    patches, width = patch_count(config, dropout), config.width
    embedding = 2 * patches * 3 * config.patch_size**2 * width
    first = Cost(embedding, embedding)
    if config.pooling == "attention":
        blocks = block_costs(config, patches, pooled=False)
        return [first, *blocks, Cost(_query_pool(config, patches))]
    head = 2 * width * embed_dim if config.projection != "none" else 0
    return [first, *block_costs(config, patches + 1), Cost(head)]


def _query_pool(config: ViTConfig, patches: int) -> int:
    """SigLIP's: one query, all patches, and an MLP."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    linear = 2 * width * (width + 2 * width * patches + width + 2 * mlp)
    return linear + 2 * 2 * patches * width


def _resnet_layers(config: ResNetConfig, embed_dim: int) -> list[Cost]:
    half, area = config.width // 2, (config.image_size // 2) ** 2
    first, rest = 2 * 9 * 3 * half * area, 2 * 9 * half * (half + config.width) * area
    blocks = [Cost(block.flops) for block in bottlenecks(config)]
    width, places = 32 * config.width, (config.image_size // 32) ** 2 + 1
    pool = 2 * width * (width + 2 * width * places + embed_dim) + 2 * 2 * places * width
    return [Cost(first + rest, first), *blocks, Cost(pool)]


def bottlenecks(config: ResNetConfig) -> Iterator[BottleneckShape]:
    """Every residual block, in order."""
    channels, side = config.width, config.image_size // 4
    for stage, depth in enumerate(config.layers):
        for block in range(depth):
            pooled = side // 2 if block == 0 and stage > 0 else side
            shape = BottleneckShape(channels, config.width * 2**stage, side, pooled, block == 0)
            yield shape
            channels, side = shape.outputs, pooled
