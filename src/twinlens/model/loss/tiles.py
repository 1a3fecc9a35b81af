"""Tiles of the softmax loss in plain torch: sums of exponentials, and gradients by the features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Sums(NamedTuple):
    """Sums of exponentials of logits, one an image or a text, relative to their largest terms."""

    largest: Float[Tensor, " row"]
    relative: Float[Tensor, " row"]

    def log(self) -> Float[Tensor, " row"]:
        """The logarithm of the sums."""
        return self.largest + self.relative.log()


class Block(NamedTuple):
    """The logits of some images with all texts, as what they are computed from.

    Attributes:
        images: Rows already multiplied by the scale.
        texts: All texts, of which those from `first` on are the images' own.
        concepts: Of the images, or nothing.
        all_concepts: Of the texts, or nothing.
        first: The place of the first image's text among `texts`.
    """

    images: Float[Tensor, "pair embed"]
    texts: Float[Tensor, "all embed"]
    concepts: Int[Tensor, " pair"] | None
    all_concepts: Int[Tensor, " all"] | None
    first: int


def sums(block: Block, tile: int) -> tuple[Sums, Sums]:
    """The sums of exponentials of the logits' rows and of their columns."""
    rows, columns = _nothing_yet(block.images), _nothing_yet(block.texts)
    for row, column in tiles(len(block.images), len(block.texts), tile):
        logits = _logits(block, row, column)
        _add(rows, row, logits, 1)
        _add(columns, column, logits, 0)
    return rows, columns


def gradients(
    block: Block, rows: Sums, columns: Sums, tile: int
) -> tuple[Float[Tensor, "pair embed"], Float[Tensor, "all embed"]]:
    """The loss's gradients by `block.images` and `block.texts`, times the number of images."""
    of_images, of_texts = torch.zeros_like(block.images), torch.zeros_like(block.texts)
    for row, column in tiles(len(block.images), len(block.texts), tile):
        logits = _logits(block, row, column)
        of_rows = (logits - rows.largest[row, None]).exp_().div_(2 * rows.relative[row, None])
        of_logits = (logits.sub_(columns.largest[column])).exp_()
        of_logits.div_(2 * columns.relative[column]).add_(of_rows)
        of_logits.diagonal(_positives(block, row, column)).sub_(1)
        of_images[row].addmm_(of_logits, block.texts[column])
        of_texts[column].addmm_(of_logits.T, block.images[row])
    return of_images, of_texts


def tiles(rows: int, columns: int, size: int) -> Iterator[tuple[slice, slice]]:
    """The tiles of a matrix, row by row; the last of a row or column may be smaller."""
    for top in range(0, rows, size):
        for left in range(0, columns, size):
            yield slice(top, min(top + size, rows)), slice(left, min(left + size, columns))


def _positives(block: Block, row: slice, column: slice) -> int:
    """Which diagonal of a tile holds the pairs; it may lie outside, and is empty then."""
    return block.first + row.start - column.start


def _logits(block: Block, row: slice, column: slice) -> Float[Tensor, "row column"]:
    """A tile of logits; minus infinity for other pairs of one concept."""
    logits = block.images[row] @ block.texts[column].T
    if block.concepts is not None and block.all_concepts is not None:
        same = block.concepts[row, None] == block.all_concepts[column]
        same.diagonal(_positives(block, row, column)).fill_(False)
        logits.masked_fill_(same, float("-inf"))
    return logits


def _nothing_yet(features: Float[Tensor, "row embed"]) -> Sums:
    # The least finite number, as minus infinity less itself is none.
    least = torch.finfo(features.dtype).min
    return Sums(features.new_full((len(features),), least), features.new_zeros(len(features)))


def _add(sums: Sums, place: slice, logits: Float[Tensor, "row column"], axis: int) -> None:
    """Take a tile's exponentials into the sums at `place`."""
    largest, relative = sums.largest[place], sums.relative[place]
    above = torch.maximum(largest, logits.amax(axis))
    relative *= (largest - above).exp()
    relative += (logits - above.unsqueeze(axis)).exp_().sum(axis)
    largest.copy_(above)
