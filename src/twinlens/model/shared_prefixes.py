"""Texts that begin alike, read once where they do.

In a causal tower a position knows only what stands before it: texts that share a beginning share
every state of it. "a photo of a cat" and "a photo of a dog" are nine states instead of twelve,
and a thousand class names in eighty sentences less than half of what they are one by one.
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
    """The distinct beginnings of texts; each is a node, and has one state in a causal tower.

    Attributes:
        tokens: The last token of each, [node].
        positions: Where that token stands, [node].
        node_indices: The node at each position of each text, [text, length]; after a text's end
            any.
        first_occurrence: Where in `node_indices`, flattened, each node is found first, [node].
        end_positions: The position that speaks for each text, [text].
    """

    tokens: Int[Tensor, " node"]
    positions: Int[Tensor, " node"]
    node_indices: Int[Tensor, "text length"]
    first_occurrence: Int[Tensor, " node"]
    end_positions: Int[Tensor, " text"]


def build_prefix_tree(
    tokens: NDArray[np.int64], end_positions: NDArray[np.int64], device: torch.device
) -> PrefixTree:
    """The distinct beginnings of texts.

    Args:
        tokens: Rows of ids, [text, length], alike ones together: sorted, whatever the key.
        end_positions: The position after which nothing counts, [text].
        device: Where the answer goes.
    """
    length = int(end_positions.max()) + 1
    tokens = tokens[:, :length]
    differs = np.ones(tokens.shape, bool)
    ended = np.arange(length) > end_positions[:-1, None]  # whatever stands there: it was no node
    differs[1:] = np.logical_or.accumulate((tokens[1:] != tokens[:-1]) | ended, axis=1)
    new = differs & (np.arange(length) <= end_positions[:, None])
    first = np.flatnonzero(new)
    numbers = np.where(new.ravel(), np.cumsum(new.ravel()) - 1, 0).reshape(new.shape)
    # A position that is not new has the node of the last text above it that has a new one there.
    places = np.maximum.accumulate(numbers, axis=0)
    arrays = (tokens.ravel()[first], first % length, places, first, end_positions)
    return PrefixTree(*(torch.as_tensor(array).to(device) for array in arrays))


def forward_shared_prefixes(
    blocks: Iterable[nn.Module], x: Float[Tensor, "node width"], tree: PrefixTree
) -> Float[Tensor, "text width"]:
    """What causal blocks make of each text's end, from the embeddings of the prefixes.

    Products are computed once a prefix; only attention, which is little of the work, once a text.
    """
    *most, last = (cast(TransformerBlock, block) for block in blocks)
    for block in most:
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
