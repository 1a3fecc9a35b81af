"""What one step optimises: a batch of pairs to a loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float32
from torch import Tensor

from twinlens.data.images import normalize
from twinlens.model.loss import contrastive_loss
from twinlens.model.text import encode_by_length

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
    texts = tokens.flatten(0, 1)
    features = encode_by_length(model.text_tower, texts, _even_group(len(texts)))
    losses = [
        contrastive_loss(image_features, text_features, model.logit_scale, same)
        for text_features, same in zip(features.view(*tokens.shape[:2], -1), concepts, strict=True)
    ]
    return torch.stack(losses).mean()


def _even_group(texts: int) -> int:
    """How many texts to encode at once: `_GROUP` or more, all groups of about one size."""
    return math.ceil(texts / max(1, texts // _GROUP))
