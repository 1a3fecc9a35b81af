"""Texts made unique, and the tree of their prefixes."""

from dataclasses import replace

import numpy as np

from tests.tiny import tiny_config
from twinlens.text.prefix_tree import build_prefix_tree, end_positions, unique_texts

TEXT = tiny_config().text_config
TOKENS = np.array([[62, 5, 63, 0], [62, 63, 0, 0], [62, 5, 63, 0], [62, 4, 63, 63]])


def test_where_texts_end():
    assert end_positions(TOKENS, TEXT).tolist() == [2, 1, 2, 2]
    assert end_positions(TOKENS, replace(TEXT, pooling="end", end_id=5)).tolist() == [1, 0, 1, 0]
    assert end_positions(TOKENS, replace(TEXT, pooling="last")).tolist() == [3, 3, 3, 3]


def test_unique_texts_are_sorted_by_length_and_lead_back():
    found = unique_texts(TOKENS, TEXT)
    assert found.rows.tolist() == [[62, 63, 0], [62, 4, 63], [62, 5, 63]]
    assert found.ends.tolist() == [1, 2, 2]
    assert found.indices.tolist() == [2, 0, 2, 1]
    assert [len(rows) for rows, _ in found.batches(2)] == [2, 1]


def test_where_the_whole_context_is_read_nothing_is_cut():
    found = unique_texts(TOKENS, replace(TEXT, causal=False))
    assert found.rows.shape == (3, 4)


def test_each_distinct_beginning_is_one_node():
    tokens = np.array([[1, 2, 3, 9, 0], [1, 2, 4, 9, 0], [1, 2, 4, 5, 9]])
    found = build_prefix_tree(tokens, np.array([3, 3, 4]))
    assert found.tokens.tolist() == [1, 2, 3, 9, 4, 9, 5, 9]
    assert found.positions.tolist() == [0, 1, 2, 3, 2, 3, 3, 4]
    assert found.node_indices[:, :3].tolist() == [[0, 1, 2], [0, 1, 4], [0, 1, 4]]
    assert found.node_indices[2].tolist() == [0, 1, 4, 6, 7]
    assert found.node_indices.flatten()[found.first_occurrence].tolist() == list(range(8))
