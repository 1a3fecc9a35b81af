"""Tiles of the softmax loss in plain torch: sums of exponentials, and feature gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class ExpSums(NamedTuple):
    """Sums of exponentials of logits, one per image or text, relative to their largest terms."""

    max_logit: Float[Tensor, " row"]
    exp_sum: Float[Tensor, " row"]

    def logsumexp(self) -> Float[Tensor, " row"]:
        """Compute the logarithm of the sums."""
        return self.max_logit + self.exp_sum.log()


class Similarities(NamedTuple):
    """The factors of the logits of some images with all texts.

    Attributes:
        images: Image features, multiplied by the scale.
        texts: All texts; those from `positive_offset` on belong to the images.
        concepts: Concepts of the images, or None.
        all_concepts: Concepts of the texts, or None.
        positive_offset: Index of the first image's text among `texts`.
    """

    images: Float[Tensor, "pair embed"]
    texts: Float[Tensor, "all embed"]
    concepts: Int[Tensor, " pair"] | None
    all_concepts: Int[Tensor, " all"] | None
    positive_offset: int


def exp_sums(block: Similarities, tile_size: int) -> tuple[ExpSums, ExpSums]:
    """Compute the sums of exponentials of the logits' rows and of their columns."""
    rows, columns = _initial_sums(block.images), _initial_sums(block.texts)
    for row, column in iter_tiles(len(block.images), len(block.texts), tile_size):
        logits = _logit_tile(block, row, column)
        _accumulate(rows, row, logits, 1)
        _accumulate(columns, column, logits, 0)
    return rows, columns


def feature_gradients(
    block: Similarities, rows: ExpSums, columns: ExpSums, tile_size: int
) -> tuple[Float[Tensor, "pair embed"], Float[Tensor, "all embed"]]:
    """Compute the gradients of `block.images` and `block.texts`, times the number of images."""
    grad_images, grad_texts = torch.zeros_like(block.images), torch.zeros_like(block.texts)
    for row, column in iter_tiles(len(block.images), len(block.texts), tile_size):
        logits = _logit_tile(block, row, column)
        of_rows = (logits - rows.max_logit[row, None]).exp_().div_(2 * rows.exp_sum[row, None])
        grad_logits = (logits.sub_(columns.max_logit[column])).exp_()
        grad_logits.div_(2 * columns.exp_sum[column]).add_(of_rows)
        grad_logits.diagonal(_positive_diagonal(block, row, column)).sub_(1)
        grad_images[row].addmm_(grad_logits, block.texts[column])
        grad_texts[column].addmm_(grad_logits.T, block.images[row])
    return grad_images, grad_texts


def iter_tiles(num_rows: int, num_columns: int, tile_size: int) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of a matrix, row by row; the last of a row or column may be smaller."""
    for top in range(0, num_rows, tile_size):
        for left in range(0, num_columns, tile_size):
            yield (
                slice(top, min(top + tile_size, num_rows)),
                slice(left, min(left + tile_size, num_columns)),
            )


def _positive_diagonal(block: Similarities, row: slice, column: slice) -> int:
    """Return the diagonal of a tile that holds positive pairs; outside of the tile it is empty."""
    return block.positive_offset + row.start - column.start


def _logit_tile(block: Similarities, row: slice, column: slice) -> Float[Tensor, "row column"]:
    """Compute a tile of logits; minus infinity for other pairs of one concept."""
    logits = block.images[row] @ block.texts[column].T
    if block.concepts is not None and block.all_concepts is not None:
        same = block.concepts[row, None] == block.all_concepts[column]
        same.diagonal(_positive_diagonal(block, row, column)).fill_(False)
        logits.masked_fill_(same, float("-inf"))
    return logits


def _initial_sums(features: Float[Tensor, "row embed"]) -> ExpSums:
    # The smallest finite number, since minus infinity less itself is NaN.
    least = torch.finfo(features.dtype).min
    return ExpSums(features.new_full((len(features),), least), features.new_zeros(len(features)))


def _accumulate(sums: ExpSums, index: slice, logits: Float[Tensor, "row column"], dim: int) -> None:
    """Add a tile's exponentials to the sums at `index`."""
    largest, relative = sums.max_logit[index], sums.exp_sum[index]
    above = torch.maximum(largest, logits.amax(dim))
    relative *= (largest - above).exp()
    relative += (logits - above.unsqueeze(dim)).exp_().sum(dim)
    largest.copy_(above)
