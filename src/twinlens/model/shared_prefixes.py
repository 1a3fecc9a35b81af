"""Text encoding with shared prefixes: texts with the same beginning compute it once.

The tree of prefixes is built by `twinlens.text.prefix_tree`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twinlens.model.layers import Attention, TransformerBlock
from twinlens.text.prefix_tree import PrefixTree


@dataclass(frozen=True, slots=True)
class DevicePrefixTree:
    """The arrays of a `PrefixTree` as tensors on a device."""

    tokens: Int[Tensor, " node"]
    positions: Int[Tensor, " node"]
    node_indices: Int[Tensor, "text length"]
    first_occurrence: Int[Tensor, " node"]
    end_positions: Int[Tensor, " text"]


def to_device(tree: PrefixTree, device: torch.device) -> DevicePrefixTree:
    """Copy a tree to a device."""
    names = DevicePrefixTree.__dataclass_fields__
    return DevicePrefixTree(*(torch.as_tensor(getattr(tree, name)).to(device) for name in names))


def forward_shared_prefixes(
    blocks: Iterable[nn.Module], x: Float[Tensor, "node width"], tree: DevicePrefixTree
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
    attention: Attention, qkv: Float[Tensor, "node triple"], tree: DevicePrefixTree
) -> Float[Tensor, "text length width"]:
    query, key, value = _expand_to_texts(attention, qkv, tree)
    mixed = attention.attention_fn(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).flatten(2)


def _attend_at_end(
    attention: Attention, qkv: Float[Tensor, "node triple"], tree: DevicePrefixTree
) -> Float[Tensor, "text width"]:
    query, key, value = _expand_to_texts(attention, qkv, tree)
    texts = torch.arange(len(query), device=query.device)
    query = query[texts, :, tree.end_positions].unsqueeze(2)
    positions = torch.arange(key.shape[2], device=query.device)
    seen = (positions <= tree.end_positions[:, None])[:, None, None]
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    return mixed.flatten(1)


def _expand_to_texts(
    attention: Attention, qkv: Float[Tensor, "node triple"], tree: DevicePrefixTree
) -> list[Float[Tensor, "text head length head_width"]]:
    whole = qkv[tree.node_indices].unflatten(2, (3, attention.heads, -1))
    return list(whole.permute(2, 0, 3, 1, 4))
