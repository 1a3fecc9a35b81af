"""The text tower: a causal transformer read at its end-of-text token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from twinlens.errors import ShapeError
from twinlens.model.layers import Transformer

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from twinlens.config import Activation, TextConfig


class TextTransformer(nn.Module):
    """GPT-style text encoder (paper section 2.4).

    The end-of-text token has the highest id of the vocabulary, so argmax finds its first
    position. No token attends to what follows it; positions after the longest text of a batch
    cannot influence any answer and are not computed.
    """

    def __init__(self, config: TextConfig, embed_dim: int, activation: Activation) -> None:
        super().__init__()
        width = config.width
        self.context_length = config.context_length
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.transformer = Transformer(width, config.layers, config.heads, activation, causal=True)
        self.final_norm = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.empty(width, embed_dim))

    def init_weights(self) -> None:
        """As in the paper's released code."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.projection, std=self.transformer.width**-0.5)
        self.transformer.init_weights()

    def forward(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, "batch embed"]:
        if tokens.ndim != 2 or tokens.shape[1] > self.context_length:
            raise ShapeError(
                f"tokens: got shape {list(tokens.shape)}, "
                f"expected [batch, at most {self.context_length}]"
            )
        if len(tokens) == 0:
            return self.projection.new_empty(0, self.projection.shape[1])
        end = tokens.argmax(dim=1)
        tokens = tokens[:, : int(end.max()) + 1]
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        x = self.transformer(x)
        last = x[torch.arange(len(x), device=x.device), end]
        return self.final_norm(last) @ self.projection
