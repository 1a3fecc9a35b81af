"""The softmax loss without the matrix of similarities: tile by tile, forward and again backward.

With S the scaled similarities of n pairs, the loss needs the log of the sum of exponentials of each
row and of each column of S. Both are collected as tiles of S pass by, each relative to the largest
exponent so far. The gradient of S is (row softmax + column softmax) / 2 - identity, over n:
backward computes each tile of S again, and from it what it adds to the gradients of both features.

Spread over ranks, a rank holds the rows of its images and all texts: its columns are sums over
ranks, brought together before they are used, and one pass over its tiles serves both directions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from twinlens.distributed.collectives import (
    gather,
    gather_with_gradient,
    rank_and_size,
    reduce_sums,
)
from twinlens.model.loss import tiles
from twinlens.model.loss.tiles import Block, Sums


def tiled_softmax(
    images: Float[Tensor, "pair embed"],
    texts: Float[Tensor, "pair embed"],
    logit_scale: Float[Tensor, ""],
    concepts: Int[Tensor, " pair"] | None = None,
    *,
    group: ProcessGroup | None = None,
    tile: int,
) -> Float[Tensor, ""]:
    """`contrastive_loss` of features of unit length, at most `tile` x `tile` logits at a time.

    Args:
        images: One row a pair.
        texts: One row a pair.
        logit_scale: Log of the inverse temperature.
        concepts: What each pair depicts; pairs of one concept are no negatives of each other.
        group: The ranks that the batch is spread over.
        tile: Rows and columns of a tile.
    """
    everyones = None if concepts is None else gather(concepts, group)
    how = _How(concepts, everyones, group, tile)
    loss = _TiledSoftmax.apply(images, gather_with_gradient(texts, group), logit_scale, how)
    return loss  # pyright: ignore[reportReturnType]


class _How(NamedTuple):
    """What of the arguments has no gradient."""

    concepts: Int[Tensor, " pair"] | None
    all_concepts: Int[Tensor, " all"] | None
    group: ProcessGroup | None
    tile: int


class _TiledSoftmax(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, logit_scale: Tensor, how: _How) -> Tensor:
        own = _own(images, how.group)
        scaled = images * logit_scale.exp()
        block = Block(scaled, texts, how.concepts, how.all_concepts, own.start)
        rows, columns = tiles.sums(block, how.tile)
        columns = Sums(*reduce_sums(columns.largest, columns.relative, how.group))
        ctx.save_for_backward(scaled, texts, logit_scale, *rows, *columns)
        ctx.how = how
        positives = (scaled * texts[own]).sum(1)
        return ((rows.log() + columns.log()[own]) / 2 - positives).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scaled, texts, logit_scale, row_max, row_sum, column_max, column_sum = ctx.saved_tensors
        how: _How = ctx.how
        first = _own(scaled, how.group).start
        block = Block(scaled, texts, how.concepts, how.all_concepts, first)
        rows, columns = Sums(row_max, row_sum), Sums(column_max, column_sum)
        of_images, of_texts = tiles.gradients(block, rows, columns, how.tile)
        factor = gradient / len(scaled)
        # A logit's derivative by the log of the scale is the logit, which is a product of features.
        of_scale = factor * (of_images * scaled).sum(1).sum()
        of_images *= factor * logit_scale.exp()
        of_texts *= factor
        return of_images, of_texts, of_scale, None


def _own(images: Float[Tensor, "pair embed"], group: ProcessGroup | None) -> slice:
    """Where this rank's rows are among those of all ranks."""
    first = rank_and_size(group)[0] * len(images)
    return slice(first, first + len(images))
