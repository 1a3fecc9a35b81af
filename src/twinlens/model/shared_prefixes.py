"""Text encoding with shared prefixes: texts with the same beginning compute it once.

In a causal tower a position depends only on the tokens before it: texts that share a beginning
share its states. "a photo of a cat" and "a photo of a dog" have nine states instead of twelve,
and a thousand class names in eighty prompts have less than half of their tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twinlens.model.layers import Attention, TransformerBlock

if TYPE_CHECKING:
    from numpy.typing import NDArray


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

    tokens: Int[Tensor, " node"]
    positions: Int[Tensor, " node"]
    node_indices: Int[Tensor, "text length"]
    first_occurrence: Int[Tensor, " node"]
    end_positions: Int[Tensor, " text"]


def build_prefix_tree(
    tokens: NDArray[np.int64], end_positions: NDArray[np.int64], device: torch.device
) -> PrefixTree:
    """Build the tree of the distinct prefixes of texts.

    Args:
        tokens: Rows of ids, [text, length], sorted by any key so that equal prefixes are adjacent.
        end_positions: Last position of each text that counts, [text].
        device: Device of the result.
    """
    length = int(end_positions.max()) + 1
    tokens = tokens[:, :length]
    differs = np.ones(tokens.shape, bool)
    ended = np.arange(length) > end_positions[:-1, None]  # past the end there are no nodes
    differs[1:] = np.logical_or.accumulate((tokens[1:] != tokens[:-1]) | ended, axis=1)
    is_new = differs & (np.arange(length) <= end_positions[:, None])
    first = np.flatnonzero(is_new)
    numbers = np.where(is_new.ravel(), np.cumsum(is_new.ravel()) - 1, 0).reshape(is_new.shape)
    # A position that is not new has the node of the last text above it that has a new one there.
    node_indices = np.maximum.accumulate(numbers, axis=0)
    arrays = (tokens.ravel()[first], first % length, node_indices, first, end_positions)
    return PrefixTree(*(torch.as_tensor(array).to(device) for array in arrays))


def forward_shared_prefixes(
    blocks: Iterable[nn.Module], x: Float[Tensor, "node width"], tree: PrefixTree
) -> Float[Tensor, "text width"]:
    """Compute the output of causal blocks at each text's end, from the embeddings of the prefixes.

    Products are computed once per prefix; only attention, a small part of the work, once per text.
    """
    *inner, last = (cast(TransformerBlock, block) for block in blocks)
    for block in inner:
        attention = block.attention
        mixed = _attend(attention, attention.qkv(block.attention_norm(x)), tree)
        x = x + attention.out(mixed.flatten(0, 1)[tree.first_occurrence])
        x = x + block.mlp(block.mlp_norm(x))
    attention = last.attention
    mixed = _attend_at_end(attention, attention.qkv(last.attention_norm(x)), tree)
    texts = torch.arange(len(tree.end_positions), device=x.device)
    x = x[tree.node_indices[texts, tree.end_positions]] + attention.out(mixed)
    return x + last.mlp(last.mlp_norm(x))


def _attend(
    attention: Attention, qkv: Float[Tensor, "node triple"], tree: PrefixTree
) -> Float[Tensor, "text length width"]:
    query, key, value = _expand_to_texts(attention, qkv, tree)
    mixed = attention.attention_fn(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).flatten(2)


def _attend_at_end(
    attention: Attention, qkv: Float[Tensor, "node triple"], tree: PrefixTree
) -> Float[Tensor, "text width"]:
    query, key, value = _expand_to_texts(attention, qkv, tree)
    texts = torch.arange(len(query), device=query.device)
    query = query[texts, :, tree.end_positions].unsqueeze(2)
    positions = torch.arange(key.shape[2], device=query.device)
    seen = (positions <= tree.end_positions[:, None])[:, None, None]
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    return mixed.flatten(1)


def _expand_to_texts(
    attention: Attention, qkv: Float[Tensor, "node triple"], tree: PrefixTree
) -> list[Float[Tensor, "text head length head_width"]]:
    whole = qkv[tree.node_indices].unflatten(2, (3, attention.heads, -1))
    return list(whole.permute(2, 0, 3, 1, 4))
