"""Token ids as torch tensors: the only place of the tokenizers that knows torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Int64

if TYPE_CHECKING:
    from torch import Tensor

Tokens: TypeAlias = "Int64[Tensor, 'text context_length']"
"""Rows of token ids, int64 [text, context_length], as torch has them."""


def as_tensor(rows: Int64[np.ndarray, "text context_length"]) -> Tokens:
    """Share the memory of rows of token ids with a torch tensor."""
    import torch  # noqa: PLC0415 - whoever wants arrays does without

    return torch.from_numpy(rows)
