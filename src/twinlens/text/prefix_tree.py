"""Texts sorted, made unique and arranged as a tree of their prefixes, for towers that share work.

In a causal tower a position depends only on the tokens before it: texts that share a beginning
share its states. "a photo of a cat" and "a photo of a dog" have nine states instead of twelve,
and a thousand class names in eighty prompts have less than half of their tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from twinlens.config import TextConfig

Tokens = Int64[np.ndarray, "text length"]
Positions = Int64[np.ndarray, " text"]


@dataclass(frozen=True, slots=True)
class UniqueTexts:
    """The distinct rows of token ids, sorted by length and then alphabetically.

    Attributes:
        rows: The distinct texts, [unique, length].
        ends: Position at which each is pooled, [unique].
        indices: The number of the distinct text that each given text is, [given].
    """

    rows: Tokens
    ends: Positions
    indices: Int64[np.ndarray, " given"]

    def batches(self, size: int) -> Iterator[tuple[Tokens, Positions]]:
        """Consecutive rows and their ends, at most `size` at a time."""
        for start in range(0, len(self.rows), size):
            yield self.rows[start : start + size], self.ends[start : start + size]


def needs_full_context(config: TextConfig) -> bool:
    """True if every text is read up to the end of the context: it is not causal, or pooled there.

    In any other tower positions after a text's end cannot influence its features.
    """
    return config.pooling == "last" or not config.causal


def end_positions(tokens: Tokens, config: TextConfig) -> Positions:
    """Find the position at which each text is pooled."""
    if config.pooling == "last":
        return np.full(len(tokens), tokens.shape[1] - 1)
    marks = tokens == config.end_id if config.pooling == "end" else tokens
    return marks.argmax(axis=1)  # the first of equal ones


def unique_texts(tokens: Tokens, config: TextConfig) -> UniqueTexts:
    """Sort at least one row of token ids and make them unique."""
    ends = end_positions(tokens, config)
    rows = tokens if needs_full_context(config) else tokens[:, : ends.max() + 1]
    order = np.lexsort((*rows.T[::-1], ends))  # by length, and alphabetically among equals
    rows, ends = rows[order], ends[order]
    is_new = np.append(True, (rows[1:] != rows[:-1]).any(axis=1))
    indices = np.empty(len(order), np.int64)
    indices[order] = np.cumsum(is_new) - 1
    return UniqueTexts(rows[is_new], ends[is_new], indices)


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The distinct prefixes of texts; each is a node, with one state in a causal tower.

    Attributes:
        tokens: Last token of each prefix, [node].
        positions: Position of that token, [node].
        node_indices: Node at each position of each text, [text, length]; arbitrary after a
            text's end.
        first_occurrence: First index of each node in the flattened `node_indices`, [node].
        end_positions: Position at which each text is pooled, [text].
    """

    tokens: Int64[np.ndarray, " node"]
    positions: Int64[np.ndarray, " node"]
    node_indices: Tokens
    first_occurrence: Int64[np.ndarray, " node"]
    end_positions: Positions


def build_prefix_tree(tokens: Tokens, ends: Positions) -> PrefixTree:
    """Build the tree of the distinct prefixes of texts.

    Args:
        tokens: Rows of ids, sorted by any key so that equal prefixes are adjacent.
        ends: Last position of each text that counts.
    """
    length = int(ends.max()) + 1
    tokens = tokens[:, :length]
    differs = np.ones(tokens.shape, bool)
    ended = np.arange(length) > ends[:-1, None]  # past the end there are no nodes
    differs[1:] = np.logical_or.accumulate((tokens[1:] != tokens[:-1]) | ended, axis=1)
    is_new = differs & (np.arange(length) <= ends[:, None])
    first = np.flatnonzero(is_new)
    numbers = np.where(is_new.ravel(), np.cumsum(is_new.ravel()) - 1, 0).reshape(is_new.shape)
    # A position that is not new has the node of the last text above it that has a new one there.
    node_indices = np.maximum.accumulate(numbers, axis=0)
    return PrefixTree(tokens.ravel()[first], first % length, node_indices, first, ends)


_ROW_POSITIONS = 32
"""Positions of a row of packed texts, at most: with fewer, kernels of attention idle."""


@dataclass(frozen=True, slots=True)
class PackedTexts:
    """The prefix tree of texts that lie several to a row, one after another, for attention.

    Attention of one short text is too little work for a processor's matrix kernels; here a mask
    keeps the texts of a row apart.

    Attributes:
        tokens: See `PrefixTree`, as the other arrays of its names.
        node_indices: [row, position].
        mask: What is added to the scores of a row, 0 or minus infinity: [position, position].
    """

    tokens: Int64[np.ndarray, " node"]
    positions: Int64[np.ndarray, " node"]
    node_indices: Int64[np.ndarray, "row position"]
    first_occurrence: Int64[np.ndarray, " node"]
    end_positions: Positions
    mask: Float32[np.ndarray, "position position"]


def pack_texts(tokens: Tokens, ends: Positions) -> PackedTexts:
    """Arrange texts as a tree of their prefixes and pack them into rows; see `build_prefix_tree`.

    The last text fills up the last row: `end_positions` may be more than were given.
    """
    length = int(ends.max()) + 1
    count = max(1, min(_ROW_POSITIONS // length, len(tokens)))
    missing = -len(tokens) % count
    tokens = np.concatenate([tokens, np.repeat(tokens[-1:], missing, axis=0)])
    ends = np.concatenate([ends, np.repeat(ends[-1:], missing)])
    tree = build_prefix_tree(tokens, ends)
    mask = np.full((count, length, count, length), -np.inf, np.float32)
    mask[range(count), :, range(count)] = causal_mask(length)
    return PackedTexts(
        tree.tokens,
        tree.positions,
        tree.node_indices.reshape(-1, count * length),
        tree.first_occurrence,
        tree.end_positions,
        mask.reshape(count * length, -1),
    )


def causal_mask(length: int) -> Float32[np.ndarray, "length length"]:
    """A mask to add to scores, 0 or minus infinity, so that no position sees a later one."""
    return np.triu(np.full((length, length), -np.inf, np.float32), 1)
