"""What one step optimises: a batch of pairs to a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from twinlens.data.images import normalize
from twinlens.model.loss import contrastive_loss

if TYPE_CHECKING:
    from jaxtyping import Float

    from twinlens.data.loader import Batch
    from twinlens.model.clip import CLIP


def pair_loss(model: CLIP, batch: Batch) -> Float[Tensor, ""]:
    """The contrastive loss of a batch; features in the model's precision, the loss in float32."""
    reference = model.text_tower.projection
    pixels = batch.pixels.to(reference.device, non_blocking=True)
    tokens = batch.tokens.to(reference.device, non_blocking=True)
    images = normalize(pixels, model.config.preprocess).to(reference.dtype)
    return contrastive_loss(
        model.encode_image(images),
        model.encode_text(tokens),
        model.logit_scale,
        batch.concepts.to(reference.device, non_blocking=True),
    )
