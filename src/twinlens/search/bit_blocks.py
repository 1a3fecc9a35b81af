"""Bits of rows, in blocks of rows that are word by word: so they are compared with a query fastest.

A row has some words of 64 bits. Within a block the first words of all its rows come first, then the
second ones: each comparison runs over thousands of neighbouring words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt64
from numpy.typing import NDArray

BLOCK_ROWS = 16_384
"""A block's words of one place take 128 kB, so that all buffers stay in the cache of a core."""

_MAX_BYTE_SUM = 3
"""Counts of words, at most 64 each, that fit into a byte."""


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
        """The words of some rows."""
        _, words, size = self._blocks.shape
        places = rows // size * (words * size) + rows % size
        flat = self._blocks.reshape(-1)
        found = np.empty((words, len(rows)), np.uint64)
        for word in range(words):
            np.take(flat, places + word * size, out=found[word], mode="clip")
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
) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Count the bits in which rows differ from a query, each times the weights of both.

    Args:
        planes: Bits of the query, the lowest first: the weight of bit n is 2^n.
        codes: Bits of the rows, the same.
    """
    num_rows = codes[0].shape[1]
    mixed, counts = np.empty(num_rows, np.uint64), np.empty(num_rows, np.uint8)
    highest = 64 * len(planes[0]) * (2 ** len(planes) - 1) * (2 ** len(codes) - 1)
    kind = np.uint16 if highest < 2**16 else np.uint32  # half of the memory
    byte_sum, total = np.empty(num_rows, np.uint8), np.zeros(num_rows, kind)
    for code in reversed(codes):
        total += total
        part = np.zeros(num_rows, kind)
        for plane in planes[::-1]:
            part += part
            for place, word in enumerate(plane):
                np.bitwise_xor(code[place], word, out=mixed)
                if place % _MAX_BYTE_SUM == 0:
                    np.bitwise_count(mixed, out=byte_sum)
                else:
                    byte_sum += np.bitwise_count(mixed, out=counts)
                if place % _MAX_BYTE_SUM == _MAX_BYTE_SUM - 1 or place == len(plane) - 1:
                    part += byte_sum
        total += part
    return total


def _num_blocks(num_rows: int) -> int:
    return -(-num_rows // BLOCK_ROWS)
