"""The softmax loss without the matrix of similarities: tile by tile, forward and again backward.

With S the scaled similarities of n pairs, the loss needs the log of the sum of exponentials of each
row and of each column of S. Both are collected as tiles of S pass by, each relative to the largest
exponent so far. The gradient of S is (row softmax + column softmax) / 2 - identity, over n; backward
computes each tile of S a second time, and from it what it adds to the gradients of both features.

Spread over ranks, a rank holds the rows of its pictures and all texts: its columns are sums over
ranks, brought together before they are used, and one pass over its tiles serves both directions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from twinlens.collectives import gather, gather_with_gradient, rank_and_size, reduce_sums
from twinlens.model import blocks
from twinlens.model.blocks import Block, Sums

PREFER_KERNEL = False
"""Whether CUDA tensors go to `kernels.py` where nothing is said. To be set by measurement."""


def tiled_softmax(
    images: Float[Tensor, "pair embed"],
    texts: Float[Tensor, "pair embed"],
    logit_scale: Float[Tensor, ""],
    concepts: Int[Tensor, " pair"] | None = None,
    *,
    group: ProcessGroup | None = None,
    tile: int,
    kernel: bool | None = None,
) -> Float[Tensor, ""]:
    """`contrastive_loss` of features of unit length, at most `tile` x `tile` logits at a time.

    Args:
        images: One row a pair.
        texts: One row a pair.
        logit_scale: Log of the inverse temperature.
        concepts: What each pair depicts; pairs of one concept are no negatives of each other.
        group: The ranks that the batch is spread over.
        tile: Rows and columns of a tile.
        kernel: Use the Triton kernel, which has tiles of its own; `None` for `PREFER_KERNEL`. Off
            CUDA, and where there is no Triton, the plain form is used in any case.
    """
    kernel = PREFER_KERNEL if kernel is None else kernel
    kernel = kernel and images.is_cuda and importlib.util.find_spec("triton") is not None
    all_texts = gather_with_gradient(texts, group)
    everyones = None if concepts is None else gather(concepts, group)
    arguments = (images, all_texts, logit_scale, concepts, everyones, group, tile, kernel)
    return _TiledSoftmax.apply(*arguments)  # pyright: ignore[reportReturnType]


class _TiledSoftmax(Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        logit_scale: Tensor,
        concepts: Tensor | None,
        all_concepts: Tensor | None,
        group: ProcessGroup | None,
        tile: int,
        kernel: bool,
    ) -> Tensor:
        pairs = len(images)
        first = rank_and_size(group)[0] * pairs
        block = Block(images * logit_scale.exp(), texts, concepts, all_concepts, first)
        sums, _ = _computing(kernel)
        rows, columns = sums(block, tile)
        columns = Sums(*reduce_sums(*columns, group))
        own = slice(first, first + pairs)
        positives = (block.images * texts[own]).sum(1)
        ctx.save_for_backward(*block[:4], logit_scale, *rows, *columns)
        ctx.first, ctx.tile, ctx.kernel = first, tile, kernel
        return ((rows.log() + columns.log()[own]) / 2 - positives).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *features, logit_scale, row_max, row_sum, column_max, column_sum = ctx.saved_tensors
        block = Block(*features, ctx.first)
        rows, columns = Sums(row_max, row_sum), Sums(column_max, column_sum)
        _, gradients = _computing(ctx.kernel)
        of_images, of_texts = gradients(block, rows, columns, ctx.tile)
        factor = gradient / len(block.images)
        # A logit's derivative by the log of the scale is the logit, which is a product of features.
        of_scale = factor * (of_images * block.images).sum(1).sum()
        of_images *= factor * logit_scale.exp()
        of_texts *= factor
        return of_images, of_texts, of_scale, None, None, None, None, None


def _computing(kernel: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions `sums` and `gradients`, plain or with the kernels."""
    if not kernel:
        return blocks.sums, blocks.gradients
    from twinlens.model import kernels  # noqa: PLC0415 - only where there is Triton

    return kernels.sums, kernels.gradients
