"""Losses of a batch of pairs as pure functions: softmax (CLIP's) and sigmoid (SigLIP's).

Each can be dense, tiled, or distributed over the ranks of a process group. Distributed, features
are this rank's rows, the same number on every rank, and the result is this rank's loss: the mean
over ranks of the losses, and of their gradients, is that of the global batch. All ranks must
use the loss in the same way, as in `loss.backward()` or `(loss / sets).backward()`: a rank computes
part of the gradients of other ranks' losses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.distributed import ProcessGroup

from twinlens.distributed.collectives import all_gather, all_gather_with_grad, rank_and_size
from twinlens.model.loss.ring import ring_sigmoid_loss
from twinlens.model.loss.tiled import tiled_softmax_loss


def contrastive_loss(
    image_features: Float[Tensor, "pair embed"],
    text_features: Float[Tensor, "pair embed"],
    logit_scale: Float[Tensor, ""],
    concepts: Int[Tensor, " pair"] | None = None,
    *,
    group: ProcessGroup | None = None,
    tile_size: int | None = None,
) -> Float32[Tensor, ""]:
    """Compute the symmetric cross-entropy over the similarities of a batch (paper figure 3).

    Computed in float32 whatever the features' type: the softmax over a large batch loses its
    small terms in half precision.

    Args:
        image_features: One row a pair, any length; normalised here.
        text_features: One row a pair, matching `image_features` row by row.
        logit_scale: Log of the inverse temperature.
        concepts: Concept of each pair. Two pairs of one concept are not negatives of each other:
            they are left out of both softmaxes.
        group: The ranks that the batch is distributed over; `None` for one process.
        tile_size: Side of the tiles of similarities in memory; tiles are computed again for the
            gradients; `None` holds the whole matrix.

    Example:
        >>> features = torch.eye(2)
        >>> round(contrastive_loss(features, features, torch.tensor(0.0)).item(), 4)
        0.3133
    """
    with torch.autocast(image_features.device.type, enabled=False):
        images = F.normalize(image_features.float(), dim=-1)
        texts = F.normalize(text_features.float(), dim=-1)
        scale = logit_scale.float()
        if tile_size is not None:
            return tiled_softmax_loss(
                images, texts, scale, concepts, group=group, tile_size=tile_size
            )
        if group is None:
            logits = _mask_same_concept(scale.exp() * images @ texts.T, concepts, None)
            both = logits, logits.T
        else:
            all_images = all_gather_with_grad(images, group)
            all_texts = all_gather_with_grad(texts, group)
            both = (
                _mask_same_concept(scale.exp() * images @ all_texts.T, concepts, group),
                _mask_same_concept(scale.exp() * texts @ all_images.T, concepts, group),
            )
        first = rank_and_size(group)[0] * len(images)
        target = torch.arange(first, first + len(images), device=images.device)
        return (F.cross_entropy(both[0], target) + F.cross_entropy(both[1], target)) / 2


def sigmoid_loss(
    image_features: Float[Tensor, "pair embed"],
    text_features: Float[Tensor, "pair embed"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""],
    concepts: Int[Tensor, " pair"] | None = None,
    *,
    group: ProcessGroup | None = None,
    tile_size: int | None = None,
) -> Float32[Tensor, ""]:
    """Compute the binary loss of each image with each text, per pair (SigLIP, algorithm 1).

    Computed in float32. Distributed, the texts are passed round a ring of ranks, and a rank holds
    the similarities with one rank's texts at a time, or a tile of those.

    Args:
        image_features: One row a pair, any length; normalised here.
        text_features: One row a pair, matching `image_features` row by row.
        logit_scale: Log of the inverse temperature.
        logit_bias: Added to each scaled similarity.
        concepts: Concept of each pair. An image with the text of another pair of its concept is
            neither positive nor negative: it is left out of the sum.
        group: The ranks that the batch is distributed over; `None` for one process.
        tile_size: Hold at most `tile_size` x `tile_size` similarities at a time.

    Example:
        >>> features = torch.eye(2)
        >>> round(sigmoid_loss(features, features, torch.zeros(()), torch.zeros(())).item(), 4)
        1.0064
    """
    with torch.autocast(image_features.device.type, enabled=False):
        images = F.normalize(image_features.float(), dim=-1)
        texts = F.normalize(text_features.float(), dim=-1)
        scale, bias = logit_scale.float(), logit_bias.float()
        if group is not None or tile_size is not None:
            tile_size = tile_size or len(images)
            return ring_sigmoid_loss(
                images, texts, scale, bias, concepts, group=group, tile_size=tile_size
            )
        logits = _mask_same_concept(scale.exp() * images @ texts.T + bias, concepts, None)
        signs = 2 * torch.eye(len(logits), device=logits.device) - 1
        return -F.logsigmoid(signs * logits).sum() / len(logits)


def _mask_same_concept(
    logits: Float[Tensor, "pair all"],
    concepts: Int[Tensor, " pair"] | None,
    group: ProcessGroup | None,
) -> Float[Tensor, "pair all"]:
    """Set the logits of other pairs of the same concept to minus infinity."""
    if concepts is None:
        return logits
    same = concepts[:, None] == all_gather(concepts, group)[None, :]
    same.diagonal(rank_and_size(group)[0] * len(concepts)).fill_(False)  # not a pair with itself
    return logits.masked_fill(same, float("-inf"))
