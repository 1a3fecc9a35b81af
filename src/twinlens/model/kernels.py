"""Tiles of the softmax loss as Triton kernels; the same functions as in `blocks.py`.

Imported on CUDA only, and only where Triton is installed. A program of the grid makes one square of
logits in registers. For the sums it leaves its part of each row's and of each column's sum, which
plain torch adds up; the logits themselves are never written. For the gradients it writes the
gradient of its logits into a tile, which plain products take to the features.
"""

# pyright: basic, reportMissingImports=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from twinlens.model.blocks import Block, Sums, tiles

SQUARE = 128
"""Rows and columns of logits of a program."""

STEP = 32
"""Features that a program takes in at once."""

PRECISION = "tf32x3"
"""Products on tensor cores in three parts, about as exact as float32's own and faster."""


def sums(block: Block, tile: int) -> tuple[Sums, Sums]:
    """The sums of exponentials of the logits' rows and of their columns; `tile` has no effect."""
    del tile  # squares are the tiles
    images, texts = block.images, block.texts
    rows = images.new_empty(2, _squares(texts), len(images))
    columns = images.new_empty(2, _squares(images), len(texts))
    _launch(_sums_kernel, block, *rows, *columns)
    return _together(rows), _together(columns)


def gradients(
    block: Block, rows: Sums, columns: Sums, tile: int
) -> tuple[Float[Tensor, "pair embed"], Float[Tensor, "all embed"]]:
    """The loss's gradients by `block.images` and `block.texts`, times the number of images."""
    of_images, of_texts = torch.zeros_like(block.images), torch.zeros_like(block.texts)
    for row, column in tiles(len(block.images), len(block.texts), tile):
        part = Block(
            block.images[row],
            block.texts[column],
            None if block.concepts is None else block.concepts[row],
            None if block.all_concepts is None else block.all_concepts[column],
            block.first + row.start - column.start,
        )
        of_logits = block.images.new_empty(len(part.images), len(part.texts))
        known = (rows.largest[row], rows.relative[row])
        known += (columns.largest[column], columns.relative[column])
        _launch(_gradients_kernel, part, *known, of_logits)
        of_images[row].addmm_(of_logits, part.texts)
        of_texts[column].addmm_(of_logits.T, part.images)
    return of_images, of_texts


def _launch(kernel: Any, block: Block, *more: Tensor) -> None:
    """A program for each square of a block; `more` are the kernel's own tensors."""
    images, texts = block.images.contiguous(), block.texts.contiguous()
    # Without concepts a kernel does not read these two.
    concepts = images if block.concepts is None else block.concepts.contiguous()
    all_concepts = texts if block.all_concepts is None else block.all_concepts.contiguous()
    kernel[_squares(images), _squares(texts)](
        *(images, texts, concepts, all_concepts, block.first, len(images), len(texts), *more),
        EMBED=images.shape[1],
        CONCEPTS=block.concepts is not None,
        SQUARE=SQUARE,
        STEP=STEP,
        PRECISION=PRECISION,
        num_warps=8,
    )


def _squares(features: Float[Tensor, "row embed"]) -> int:
    """How many squares cover these rows."""
    return -(-len(features) // SQUARE)


def _together(parts: Float[Tensor, "2 part row"]) -> Sums:
    """Sums over all columns from those over some: largest terms, and sums relative to them."""
    largest = parts[0].amax(0)
    return Sums(largest, (parts[1] * (parts[0] - largest).exp()).sum(0))


@triton.jit
def _square(
    images, texts, concepts, all_concepts, first, image_count, text_count,
    EMBED: tl.constexpr, CONCEPTS: tl.constexpr, SQUARE: tl.constexpr, STEP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """This program's logits, its rows and columns; what is outside of the matrix is -inf."""
    rows = tl.program_id(0).to(tl.int64) * SQUARE + tl.arange(0, SQUARE)
    columns = tl.program_id(1).to(tl.int64) * SQUARE + tl.arange(0, SQUARE)
    logits = tl.zeros((SQUARE, SQUARE), dtype=tl.float32)
    for start in range(0, EMBED, STEP):
        place = start + tl.arange(0, STEP)
        row_mask = (rows < image_count)[:, None] & (place < EMBED)[None, :]
        column_mask = (columns < text_count)[:, None] & (place < EMBED)[None, :]
        some_images = tl.load(images + rows[:, None] * EMBED + place[None, :], row_mask, 0.0)
        some_texts = tl.load(texts + columns[:, None] * EMBED + place[None, :], column_mask, 0.0)
        logits = tl.dot(some_images, tl.trans(some_texts), logits, input_precision=PRECISION)
    inside = (rows < image_count)[:, None] & (columns < text_count)[None, :]
    if CONCEPTS:
        of_rows = tl.load(concepts + rows, rows < image_count, 0)
        of_columns = tl.load(all_concepts + columns, columns < text_count, 0)
        pairs = (rows + first)[:, None] == columns[None, :]
        inside = inside & ((of_rows[:, None] != of_columns[None, :]) | pairs)
    return tl.where(inside, logits, float("-inf")), rows, columns


@triton.jit
def _sums_kernel(
    images, texts, concepts, all_concepts, first, image_count, text_count,
    row_largest, row_sums, column_largest, column_sums,
    EMBED: tl.constexpr, CONCEPTS: tl.constexpr, SQUARE: tl.constexpr, STEP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """This square's part of its rows' and columns' sums, to [part, row] and [part, column]."""
    logits, rows, columns = _square(
        images, texts, concepts, all_concepts, first, image_count, text_count,
        EMBED, CONCEPTS, SQUARE, STEP, PRECISION,
    )  # fmt: skip
    # Never -inf: minus infinity less itself is no number.
    largest = tl.maximum(tl.max(logits, 1), -3.0e38)
    place = tl.program_id(1).to(tl.int64) * image_count + rows
    tl.store(row_largest + place, largest, rows < image_count)
    tl.store(row_sums + place, tl.sum(tl.exp(logits - largest[:, None]), 1), rows < image_count)
    largest = tl.maximum(tl.max(logits, 0), -3.0e38)
    place = tl.program_id(0).to(tl.int64) * text_count + columns
    tl.store(column_largest + place, largest, columns < text_count)
    relative = tl.sum(tl.exp(logits - largest[None, :]), 0)
    tl.store(column_sums + place, relative, columns < text_count)


@triton.jit
def _gradients_kernel(
    images, texts, concepts, all_concepts, first, image_count, text_count,
    row_largest, row_sums, column_largest, column_sums, of_logits,
    EMBED: tl.constexpr, CONCEPTS: tl.constexpr, SQUARE: tl.constexpr, STEP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """(row softmax + column softmax) / 2 - 1 for pairs, of this square."""
    logits, rows, columns = _square(
        images, texts, concepts, all_concepts, first, image_count, text_count,
        EMBED, CONCEPTS, SQUARE, STEP, PRECISION,
    )  # fmt: skip
    in_rows, in_columns = rows < image_count, columns < text_count
    largest = tl.load(row_largest + rows, in_rows, 0.0)
    relative = tl.load(row_sums + rows, in_rows, 1.0)
    softmax = tl.exp(logits - largest[:, None]) / relative[:, None]
    largest = tl.load(column_largest + columns, in_columns, 0.0)
    relative = tl.load(column_sums + columns, in_columns, 1.0)
    softmax += tl.exp(logits - largest[None, :]) / relative[None, :]
    pairs = (rows + first)[:, None] == columns[None, :]
    gradient = softmax / 2 - tl.where(pairs, 1.0, 0.0)
    place = rows[:, None] * text_count + columns[None, :]
    tl.store(of_logits + place, gradient, in_rows[:, None] & in_columns[None, :])
