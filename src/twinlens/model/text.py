"""The text tower: a causal transformer pooled at its end-of-text token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from twinlens.errors import ShapeError
from twinlens.model.layers import Transformer
from twinlens.model.shared_prefixes import (
    DevicePrefixTree,
    forward_shared_prefixes,
    to_device,
)
from twinlens.text.prefix_tree import build_prefix_tree, needs_full_context, unique_texts

if TYPE_CHECKING:
    from twinlens.config import TextConfig


class TextTransformer(nn.Module):
    """GPT-style text encoder (paper section 2.4), or SigLIP's.

    In a causal tower no token attends to later ones: positions after the end of the longest text
    of a batch cannot influence any output and are not computed. A tower that attends in both
    directions, or is pooled at its last position, needs texts padded to the full context.
    """

    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.context_length = config.context_length
        self.pooling = config.pooling
        self.end_id = config.end_id
        self.needs_full_context = needs_full_context(config)
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.transformer = Transformer(config, causal=config.causal)
        self.final_norm = nn.LayerNorm(width, config.norm_eps)
        projects, has_bias = config.projection != "none", config.projection == "affine"
        self.projection = nn.Parameter(torch.empty(width, embed_dim)) if projects else None
        self.projection_bias = nn.Parameter(torch.empty(embed_dim)) if has_bias else None

    def init_weights(self) -> None:
        """Initialise as in the paper's released code."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        if self.projection is not None:
            nn.init.normal_(self.projection, std=self.transformer.width**-0.5)
        if self.projection_bias is not None:
            nn.init.zeros_(self.projection_bias)
        self.transformer.init_weights()

    def forward(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, "batch embed"]:
        self._check_tokens(tokens)
        ends = self.end_positions(tokens)
        if len(tokens) and not self.needs_full_context:
            tokens = tokens[:, : int(ends.max()) + 1]
        return self._encode_at(ends, tokens)

    def forward_full_context(
        self, tokens: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch embed"]:
        """Compute the same as `forward` at every position: no shape depends on the texts."""
        return self._encode_at(self.end_positions(tokens), tokens)

    def _encode_at(
        self, positions: Int[Tensor, " batch"], tokens: Int[Tensor, "batch length"]
    ) -> Float[Tensor, "batch embed"]:
        return self._project(self.transformer.forward_pooled(self._embed(tokens), positions))

    def forward_prefixes(self, tree: DevicePrefixTree) -> Float[Tensor, "text embed"]:
        """Compute the same as `forward`, shared prefixes once; for causal towers only."""
        x = self.token_embedding(tree.tokens) + self.positional_embedding[tree.positions]
        return self._project(forward_shared_prefixes(self.transformer.blocks, x, tree))

    def _project(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch embed"]:
        pooled = self.final_norm(x)
        if self.projection is not None:
            pooled = pooled @ self.projection
        return pooled if self.projection_bias is None else pooled + self.projection_bias

    def end_positions(self, tokens: Int[Tensor, "batch length"]) -> Int[Tensor, " batch"]:
        """Find the position at which each text is pooled."""
        if self.pooling == "last":
            return torch.full_like(tokens[:, 0], tokens.shape[1] - 1)
        if self.pooling == "end":
            tokens = (tokens == self.end_id).int()
        return tokens.argmax(dim=1)

    def hidden_states(
        self, tokens: Int[Tensor, "batch length"]
    ) -> list[Float[Tensor, "batch length width"]]:
        """Return the hidden states of every position: the embeddings, then each block's output.

        The last is not normalised; `final_norm` does that.

        Raises:
            ShapeError: The rows are longer than the context length, or shorter where the tower
                needs the whole context.
        """
        self._check_tokens(tokens)
        return self.transformer.hidden_states(self._embed(tokens))

    def _embed(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length width"]:
        return self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]

    def _check_tokens(self, tokens: Tensor) -> None:
        length, limit = tokens.shape[-1], self.context_length
        fits = length == limit if self.needs_full_context else 0 < length <= limit
        if tokens.ndim != 2 or not fits:
            expected = f"{limit}" if self.needs_full_context else f"1 to {limit}"
            raise ShapeError(
                f"tokens: got shape {list(tokens.shape)}, expected [batch, {expected}]"
            )


def encode_sorted_by_length(
    tower: TextTransformer, tokens: Int[Tensor, "text length"], batch_size: int
) -> Float[Tensor, "text embed"]:
    """Compute text features in batches sorted by length, so that short texts stay cheap.

    Exact: a causal tower reads each text up to its end only, and any other tower reads all
    of each text, in any batch.

    Args:
        tower: The text tower.
        tokens: Rows of ids as the tower takes them.
        batch_size: Most texts encoded at once.
    """
    order = tower.end_positions(tokens).argsort(stable=True)
    features = torch.cat([tower(texts) for texts in tokens[order].split(batch_size)])
    return features[order.argsort()]


def encode_deduplicated(
    tower: TextTransformer, tokens: Int64[np.ndarray, "text length"], batch_size: int
) -> Float[Tensor, "text embed"]:
    """Compute text features without gradients; equal texts and shared prefixes only once.

    Exact, as `encode_sorted_by_length` is; prefixes are shared if the tower is causal.

    Args:
        tower: The text tower, on any device.
        tokens: Rows of ids as the tower takes them.
        batch_size: Most texts encoded at once.
    """
    device = tower.positional_embedding.device
    if not len(tokens):
        return tower(torch.as_tensor(tokens).to(device))
    texts = unique_texts(tokens, tower.config)
    features: list[Tensor] = []
    for rows, ends in texts.batches(batch_size):
        if tower.needs_full_context:
            features.append(tower(torch.as_tensor(rows).to(device)))
        else:
            tree = to_device(build_prefix_tree(rows, ends), device)
            features.append(tower.forward_prefixes(tree))
    return torch.cat(features)[torch.as_tensor(texts.indices).to(device)]
