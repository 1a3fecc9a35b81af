"""A batch to a loss."""

import torch

from tests.tiny import tiny_clip
from twinlens.data.images import normalize
from twinlens.data.loader import Batch
from twinlens.model.loss import contrastive_loss
from twinlens.train.task import pair_loss


def a_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 60, (2, 4, 12), generator=generator)
    for row, end in zip(tokens.flatten(0, 1), (3, 11, 5, 2, 4, 9, 7, 6), strict=True):
        row[0], row[end], row[end + 1 :] = 62, 63, 0
    return Batch(
        pixels=torch.randint(0, 256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8),
        tokens=tokens,
        concepts=torch.tensor([[1, 1, 2, 3], [4, 5, 6, 7]]),
        truncated=0,
    )


def test_the_loss_is_the_mean_over_the_sets_of_captions():
    model, batch = tiny_clip(), a_batch()
    images = model.encode_image(normalize(batch.pixels, model.config.preprocess))
    losses = [
        contrastive_loss(images, model.encode_text(tokens), model.logit_scale, concepts)
        for tokens, concepts in zip(batch.tokens, batch.concepts, strict=True)
    ]
    torch.testing.assert_close(pair_loss(model, batch), (losses[0] + losses[1]) / 2)
