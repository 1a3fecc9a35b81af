"""A classifier head over image features, as a module that is trained with the towers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn


class ClassifierModule(nn.Module):
    """Logits of classes: unit-length features times class weights, scaled as CLIP's logits."""

    def __init__(self, weight: Float32[np.ndarray, "embed class"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(
        self, features: Float[Tensor, "batch embed"], logit_scale: Float[Tensor, ""]
    ) -> Float32[Tensor, "batch class"]:
        """Logits of features of any length."""
        unit = F.normalize(features.float(), dim=-1)
        return logit_scale.float().exp() * unit @ self.weight.float()
