"""What one step optimises: a batch of pairs to a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from twinlens.data.images import normalize
from twinlens.model.loss import contrastive_loss

if TYPE_CHECKING:
    from twinlens.data.loader import Batch
    from twinlens.model.clip import CLIP


_GROUP = 96
"""Texts encoded together: enough to fill the hardware, few enough to be of one length."""


def pair_loss(model: CLIP, batch: Batch) -> Float32[Tensor, ""]:
    """The contrastive loss of a batch; features in the model's precision, the loss in float32.

    Where a batch has several sets of captions, it is the mean of their losses: a picture is
    encoded once and learns from all of them.
    """
    reference = model.text_tower.token_embedding.weight
    pixels = batch.pixels.to(reference.device, non_blocking=True)
    tokens = batch.tokens.to(reference.device, non_blocking=True)
    concepts = batch.concepts.to(reference.device, non_blocking=True)
    images = normalize(pixels, model.config.image_input).to(reference.dtype)
    image_features = model.encode_image(images)
    text_features = encode_by_length(model, tokens.flatten(0, 1)).view(*tokens.shape[:2], -1)
    losses = [
        contrastive_loss(image_features, features, model.logit_scale, same)
        for features, same in zip(text_features, concepts, strict=True)
    ]
    return torch.stack(losses).mean()


def encode_by_length(
    model: CLIP, tokens: Int64[Tensor, "text length"]
) -> Float[Tensor, "text embed"]:
    """Text features, a group of similar lengths at a time: short texts do not pay for long ones.

    Exact: a causal tower reads each text up to its end and no further.
    """
    order = tokens.argmax(dim=1).argsort(stable=True)
    groups = tokens[order].chunk(max(1, len(tokens) // _GROUP))
    features = torch.cat([model.encode_text(group) for group in groups])
    return features[order.argsort()]
