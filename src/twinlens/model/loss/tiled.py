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
    all_gather,
    all_gather_with_grad,
    all_reduce_exp_sums,
    rank_and_size,
)
from twinlens.model.loss import tiles
from twinlens.model.loss.tiles import ExpSums, Similarities


def tiled_softmax_loss(
    images: Float[Tensor, "pair embed"],
    texts: Float[Tensor, "pair embed"],
    logit_scale: Float[Tensor, ""],
    concepts: Int[Tensor, " pair"] | None = None,
    *,
    group: ProcessGroup | None = None,
    tile_size: int,
) -> Float[Tensor, ""]:
    """`contrastive_loss` of features of unit length, in tiles of `tile_size` squared.

    Args:
        images: One row a pair.
        texts: One row a pair.
        logit_scale: Log of the inverse temperature.
        concepts: What each pair depicts; pairs of one concept are no negatives of each other.
        group: The ranks that the batch is spread over.
        tile_size: Rows and columns of a tile.
    """
    everyones = None if concepts is None else all_gather(concepts, group)
    how = _TileOptions(concepts, everyones, group, tile_size)
    loss = _TiledSoftmax.apply(images, all_gather_with_grad(texts, group), logit_scale, how)
    return loss  # pyright: ignore[reportReturnType]


class _TileOptions(NamedTuple):
    """What of the arguments has no gradient."""

    concepts: Int[Tensor, " pair"] | None
    all_concepts: Int[Tensor, " all"] | None
    group: ProcessGroup | None
    tile_size: int


class _TiledSoftmax(Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, logit_scale: Tensor, how: _TileOptions
    ) -> Tensor:
        own = _local_rows(images, how.group)
        scaled = images * logit_scale.exp()
        block = Similarities(scaled, texts, how.concepts, how.all_concepts, own.start)
        rows, columns = tiles.exp_sums(block, how.tile_size)
        columns = ExpSums(*all_reduce_exp_sums(columns.max_logit, columns.exp_sum, how.group))
        ctx.save_for_backward(scaled, texts, logit_scale, *rows, *columns)
        ctx.how = how
        positives = (scaled * texts[own]).sum(1)
        return ((rows.logsumexp() + columns.logsumexp()[own]) / 2 - positives).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scaled, texts, logit_scale, row_max, row_sum, column_max, column_sum = ctx.saved_tensors
        how: _TileOptions = ctx.how
        first = _local_rows(scaled, how.group).start
        block = Similarities(scaled, texts, how.concepts, how.all_concepts, first)
        rows, columns = ExpSums(row_max, row_sum), ExpSums(column_max, column_sum)
        of_images, of_texts = tiles.feature_gradients(block, rows, columns, how.tile_size)
        factor = gradient / len(scaled)
        # A logit's derivative by the log of the scale is the logit, which is a product of features.
        of_scale = factor * (of_images * scaled).sum(1).sum()
        of_images *= factor * logit_scale.exp()
        of_texts *= factor
        return of_images, of_texts, of_scale, None


def _local_rows(images: Float[Tensor, "pair embed"], group: ProcessGroup | None) -> slice:
    """Where this rank's rows are among those of all ranks."""
    first = rank_and_size(group)[0] * len(images)
    return slice(first, first + len(images))
