"""The contrastive loss as a pure function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor


def contrastive_loss(
    image_features: Float[Tensor, "pair embed"],
    text_features: Float[Tensor, "pair embed"],
    logit_scale: Float[Tensor, ""],
    concepts: Int[Tensor, " pair"] | None = None,
) -> Float32[Tensor, ""]:
    """Symmetric cross-entropy over the similarities of a batch (paper figure 3).

    Computed in float32 whatever the features' type: the softmax over a large batch loses its
    small terms in half precision.

    Args:
        image_features: One row a pair, any length; normalised here.
        text_features: One row a pair, matching `image_features` row by row.
        logit_scale: Log of the inverse temperature.
        concepts: What each pair depicts. Two pairs of one concept are no negatives of each
            other: they are left out of both softmaxes.

    Example:
        >>> features = torch.eye(2)
        >>> round(contrastive_loss(features, features, torch.tensor(0.0)).item(), 4)
        0.3133
    """
    image_features = F.normalize(image_features.float(), dim=-1)
    text_features = F.normalize(text_features.float(), dim=-1)
    logits = logit_scale.float().exp() * image_features @ text_features.T
    if concepts is not None:
        same = concepts[:, None] == concepts[None, :]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
