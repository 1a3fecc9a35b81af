"""Floating-point operations of a model: its matrix products and convolutions, to the last one.

A multiplication and its addition count as two, as in device data sheets. Norms, activations and
sums are left out: they are under one percent and not what a device's peak is about. Attention
counts whole, also where it is causal. `forward` is what one pass costs; `backward` is twice
that, but for the first layer, whose pixels want no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from twinlens.config import CLIPConfig, ResNetConfig, TextConfig, ViTConfig
from twinlens.train.recipe import Recipe

CAPTION_TOKENS = 16.0
"""Mean length that is assumed of a caption, its start and end counted: alt texts are short."""


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
        """Operations of its three or four convolutions for one picture."""
        before = self.side**2 * self.width * (self.inputs + 9 * self.width)
        after = self.pooled**2 * self.outputs * (self.width + self.projects * self.inputs)
        return 2 * (before + after)


def patch_count(config: ViTConfig, dropout: float = 0.0) -> int:
    """Patches of a picture that are computed."""
    patches = (config.image_size // config.patch_size) ** 2
    return max(1, round(patches * (1 - dropout)))


def blocks_cost(config: ViTConfig | TextConfig, length: float, *, pooled: bool = True) -> Cost:
    """All blocks of a transformer for one sequence.

    Where one position of it is read, the last block answers there alone.
    """
    asked = 1 if pooled else length
    whole = (config.layers - 1) * _block_flops(config, length, length)
    return Cost(whole + _block_flops(config, length, asked))


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
    length = text_length(config, tokens)
    head = 2 * config.width * embed_dim if config.projection != "none" else 0
    return blocks_cost(config, length) + Cost(head)


def image_cost(config: ViTConfig | ResNetConfig, embed_dim: int, dropout: float = 0.0) -> Cost:
    """One picture."""
    if isinstance(config, ResNetConfig):
        return _resnet_cost(config, embed_dim)
    patches, width = patch_count(config, dropout), config.width
    embedding = 2 * patches * 3 * config.patch_size**2 * width
    cost = Cost(embedding, embedding)
    if config.pooling == "attention":
        blocks = blocks_cost(config, patches, pooled=False)
        return cost + blocks + Cost(_query_pool(config, patches))
    head = 2 * width * embed_dim if config.projection != "none" else 0
    return cost + blocks_cost(config, patches + 1) + Cost(head)


def _query_pool(config: ViTConfig, patches: int) -> int:
    """SigLIP's: one query, all patches, and an MLP."""
    width, mlp = config.width, config.mlp_width or 4 * config.width
    linear = 2 * width * (width + 2 * width * patches + width + 2 * mlp)
    return linear + 2 * 2 * patches * width


def _resnet_cost(config: ResNetConfig, embed_dim: int) -> Cost:
    half, area = config.width // 2, (config.image_size // 2) ** 2
    first, rest = 2 * 9 * 3 * half * area, 2 * 9 * half * (half + config.width) * area
    body = sum(block.flops for block in bottlenecks(config))
    width, places = 32 * config.width, (config.image_size // 32) ** 2 + 1
    pool = 2 * width * (width + 2 * width * places + embed_dim) + 2 * 2 * places * width
    return Cost(first, first) + Cost(rest + body + pool)


def bottlenecks(config: ResNetConfig) -> Iterator[BottleneckShape]:
    """Every residual block, in order."""
    channels, side = config.width, config.image_size // 4
    for stage, depth in enumerate(config.layers):
        for block in range(depth):
            pooled = side // 2 if block == 0 and stage > 0 else side
            shape = BottleneckShape(channels, config.width * 2**stage, side, pooled, block == 0)
            yield shape
            channels, side = shape.outputs, pooled


def similarity_cost(model: CLIPConfig, batch_size: int) -> Cost:
    """One pair's share of all similarities of a batch."""
    return Cost(2 * batch_size * model.embed_dim)


def pair_cost(recipe: Recipe, tokens: float = CAPTION_TOKENS) -> Cost:
    """One pair of a recipe: its picture, its captions and its similarities.

    Its `training` times pairs per second, as a share of a device's peak, is the model FLOPs
    utilisation: what is computed twice to save memory does not count.
    """
    model, vision = recipe.model, recipe.model.vision
    assert vision is not None
    text = text_cost(model.text_input, model.embed_dim, tokens)
    similarities = similarity_cost(model, recipe.batch_size)
    image = image_cost(vision, model.embed_dim, recipe.patch_dropout)
    return image + (text + similarities).times(recipe.captions)
