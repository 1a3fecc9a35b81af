"""Texts made unique, and the tree of their prefixes."""

from dataclasses import replace

import numpy as np

from tests.tiny import tiny_config
from twinlens.text.prefix_tree import build_prefix_tree, end_positions, pack_texts, unique_texts

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


def test_short_texts_share_a_row_and_do_not_see_each_other():
    tokens = np.array([[1, 2, 9], [1, 3, 9], [1, 4, 9]])
    tokens = np.concatenate(
        [tokens + np.array([0, number, 0]) for number in range(0, 12, 3)]
    )  # 12 texts
    found = pack_texts(tokens[:11], np.full(11, 2))
    assert found.node_indices.shape == (2, 30)  # ten of three positions a row
    assert len(found.end_positions) == 20  # the last one fills the row
    alone = build_prefix_tree(tokens[:11], np.full(11, 2))
    assert found.node_indices.reshape(-1, 3)[:11].tolist() == alone.node_indices.tolist()
    assert (found.node_indices.reshape(-1, 3)[11:] == alone.node_indices[10]).all()
    assert len(found.tokens) == len(alone.tokens)
    seen = found.mask == 0
    assert (found.mask[~seen] == -np.inf).all()
    assert seen.sum() == 10 * (1 + 2 + 3)
    assert np.flatnonzero(seen[4]).tolist() == [3, 4]


def test_long_texts_have_a_row_each():
    tokens = np.arange(40).reshape(2, 20)
    found = pack_texts(tokens, np.array([19, 19]))
    assert found.node_indices.shape == (2, 20)
    assert found.mask.shape == (20, 20)


def test_one_text_is_not_padded():
    found = pack_texts(np.array([[1, 2, 9]]), np.array([2]))
    assert found.node_indices.tolist() == [[0, 1, 2]]
    assert found.end_positions.tolist() == [2]
