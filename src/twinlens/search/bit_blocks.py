"""Bits of rows, in blocks of rows that are word by word: so they are compared with a query fastest.

A row has some words of 64 bits. Within a block the first words of all its rows come first, then the
second ones: each comparison runs over thousands of neighbouring words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt64
from numpy.typing import NDArray

BLOCK_ROWS = 16_384
"""A block's words of one place take 128 kB, so that all buffers stay in the cache of a core."""


class BitBlocks:
    """The bits of the first rows, often mapped into memory."""

    def __init__(self, blocks: UInt64[np.ndarray, "block word row"], num_rows: int) -> None:
        self._blocks = blocks
        self._num_rows = num_rows

    @classmethod
    def open(cls, path: Path, num_rows: int, words: int) -> BitBlocks:
        """Map a file that `append_bits` has written.

        Raises:
            OSError: It cannot be opened.
            ValueError: It is shorter.
        """
        shape = (_num_blocks(num_rows), words, BLOCK_ROWS)
        mapped = np.memmap(path, np.uint64, "r", shape=shape) if num_rows else np.zeros(shape)
        return cls(np.asarray(mapped, np.uint64), num_rows)

    @classmethod
    def of_rows(cls, bits: UInt64[np.ndarray, "row word"]) -> BitBlocks:
        """The bits of some rows in memory, as one block of just their number."""
        return cls(np.ascontiguousarray(bits.T)[None], len(bits))

    def __len__(self) -> int:
        """The number of rows."""
        return self._num_rows

    def first(self, num_rows: int) -> BitBlocks:
        """Those of the first rows."""
        return BitBlocks(self._blocks, min(num_rows, self._num_rows))

    def blocks(self) -> Iterator[UInt64[np.ndarray, "word row"]]:
        """The blocks one after the other, the last one cut at its last row."""
        size = self._blocks.shape[2]
        for number, block in enumerate(self._blocks):
            rows = min(size, self._num_rows - number * size)
            if rows <= 0:
                return
            yield block[:, :rows]

    def of(self, rows: Int64[np.ndarray, " some"]) -> UInt64[np.ndarray, "word some"]:
        """The words of some rows, which are ascending."""
        _, words, size = self._blocks.shape
        found = np.empty((words, len(rows)), np.uint64)
        if not len(rows):
            return found
        first, last = int(rows[0]) // size, int(rows[-1]) // size
        borders = np.searchsorted(rows, np.arange(first, last + 2) * size)
        for number in range(first, last + 1):  # a block at a time: it stays in the cache
            part = slice(borders[number - first], borders[number - first + 1])
            if part.stop > part.start:
                inside = rows[part] - number * size
                np.take(self._blocks[number], inside, axis=1, out=found[:, part], mode="clip")
        return found

    def by_row(self) -> UInt64[np.ndarray, "row word"]:
        """A copy, row by row."""
        parts = [block.T for block in self.blocks()]
        return np.concatenate(parts) if parts else np.zeros((0, self._blocks.shape[1]), np.uint64)


def append_bits(path: Path, num_rows: int, bits: UInt64[np.ndarray, "row word"]) -> None:
    """Write the bits of rows behind the first `num_rows`, and sync them to the disk.

    Readers of the first rows may have the file mapped.

    Raises:
        OSError: It cannot be written.
    """
    count, words = num_rows + len(bits), bits.shape[1]
    if not len(bits):
        return
    shape = (_num_blocks(count), words, BLOCK_ROWS)
    with path.open("r+b") as file:  # a full disk is an error here, and would kill a writer below
        os.posix_fallocate(file.fileno(), 0, 8 * words * BLOCK_ROWS * shape[0])
    mapped = np.memmap(path, np.uint64, "r+", shape=shape)
    row = num_rows
    while row < count:
        block, place = divmod(row, BLOCK_ROWS)
        size = min(count - row, BLOCK_ROWS - place)
        done = row - num_rows
        mapped[block, :, place : place + size] = bits[done : done + size].T
        row += size
    mapped.flush()


def weighted_counts(
    planes: UInt64[np.ndarray, "bit word"], codes: Sequence[UInt64[np.ndarray, "word row"]]
) -> NDArray[Any]:
    """Count the bits in which rows differ from a query, each times the weights of both: integers.

    Args:
        planes: Bits of the query, the lowest first: the weight of bit n is 2^n.
        codes: Bits of the rows, the same.
    """
    words, num_rows = codes[0].shape
    highest = 64 * words * (2 ** len(planes) - 1) * (2 ** len(codes) - 1)
    kind = np.uint16 if highest < 2**16 else np.uint32  # half of the memory
    mixed, counts = np.empty((words, num_rows), np.uint64), np.empty((words, num_rows), np.uint8)
    total = np.zeros(num_rows, kind)
    for code in reversed(codes):
        part = np.zeros(num_rows, kind)
        for plane in planes[::-1]:
            np.bitwise_xor(code, plane[:, None], out=mixed)
            np.bitwise_count(mixed, out=counts)
            part += part
            part += np.add.reduce(counts, axis=0, dtype=kind)
        total += total
        total += part
    return total


def _num_blocks(num_rows: int) -> int:
    return -(-num_rows // BLOCK_ROWS)
