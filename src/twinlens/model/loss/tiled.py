"""The softmax loss in tiles, without the whole matrix of similarities, forward and backward.

With S the scaled similarities of n pairs, the loss needs the log of the sum of exponentials of each
row and of each column of S. Both are accumulated tile by tile, relative to the largest exponent so
far. The gradient of S is (row softmax + column softmax) / 2 - identity, over n:
backward computes each tile of S again, and from it its part of the gradients of both features.

Distributed, a rank holds the rows of its images and all texts: the sums of columns are reduced over
ranks before they are used, and one pass over the tiles gives both directions.
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
    """Compute `contrastive_loss` of features of unit length, in tiles of `tile_size` squared.

    Args:
        images: One row a pair.
        texts: One row a pair.
        logit_scale: Log of the inverse temperature.
        concepts: Concept of each pair; pairs of one concept are not negatives of each other.
        group: The ranks that the batch is distributed over.
        tile_size: Rows and columns of a tile.
    """
    all_concepts = None if concepts is None else all_gather(concepts, group)
    options = _TileOptions(concepts, all_concepts, group, tile_size)
    loss = _TiledSoftmax.apply(images, all_gather_with_grad(texts, group), logit_scale, options)
    return loss  # pyright: ignore[reportReturnType]


class _TileOptions(NamedTuple):
    """The arguments without a gradient."""

    concepts: Int[Tensor, " pair"] | None
    all_concepts: Int[Tensor, " all"] | None
    group: ProcessGroup | None
    tile_size: int


class _TiledSoftmax(Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, logit_scale: Tensor, options: _TileOptions
    ) -> Tensor:
        own = _local_rows(images, options.group)
        scaled = images * logit_scale.exp()
        block = Similarities(scaled, texts, options.concepts, options.all_concepts, own.start)
        rows, columns = tiles.exp_sums(block, options.tile_size)
        columns = ExpSums(*all_reduce_exp_sums(columns.max_logit, columns.exp_sum, options.group))
        ctx.save_for_backward(scaled, texts, logit_scale, *rows, *columns)
        ctx.options = options
        positives = (scaled * texts[own]).sum(1)
        return ((rows.logsumexp() + columns.logsumexp()[own]) / 2 - positives).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scaled, texts, logit_scale, row_max, row_sum, column_max, column_sum = ctx.saved_tensors
        options: _TileOptions = ctx.options
        first = _local_rows(scaled, options.group).start
        block = Similarities(scaled, texts, options.concepts, options.all_concepts, first)
        rows, columns = ExpSums(row_max, row_sum), ExpSums(column_max, column_sum)
        grad_images, grad_texts = tiles.feature_gradients(block, rows, columns, options.tile_size)
        factor = gradient / len(scaled)
        # A logit's derivative by the log of the scale is the logit, which is a product of features.
        grad_scale = factor * (grad_images * scaled).sum(1).sum()
        grad_images *= factor * logit_scale.exp()
        grad_texts *= factor
        return grad_images, grad_texts, grad_scale, None


def _local_rows(images: Float[Tensor, "pair embed"], group: ProcessGroup | None) -> slice:
    """Return the slice of this rank's rows among those of all ranks."""
    first = rank_and_size(group)[0] * len(images)
    return slice(first, first + len(images))
