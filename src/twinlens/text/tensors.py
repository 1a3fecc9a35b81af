"""Token ids as torch tensors: the only module of the tokenizers that imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Int64

if TYPE_CHECKING:
    from torch import Tensor

Tokens: TypeAlias = "Int64[Tensor, 'text context_length']"
"""Rows of token ids, a tensor of int64 [text, context_length]."""


def as_tensor(rows: Int64[np.ndarray, "text context_length"]) -> Tokens:
    """Share the memory of rows of token ids with a torch tensor."""
    import torch  # noqa: PLC0415 - not needed for arrays

    return torch.from_numpy(rows)
