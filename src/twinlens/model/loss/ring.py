"""The sigmoid loss over a ring of ranks, a tile of similarities at a time.

The terms of this loss are independent, so the gradient of a term is known with its value: one
pass gives the loss and the gradients, and nothing is computed twice. A rank keeps its images; texts
arrive from the previous rank, and their accumulated gradients are passed on with them until both
are back at their own rank. Backward only multiplies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from twinlens.distributed.collectives import rank_and_size, ring_exchange, start_ring_exchange
from twinlens.model.loss.tiles import iter_tiles


def ring_sigmoid_loss(
    images: Float[Tensor, "pair embed"],
    texts: Float[Tensor, "pair embed"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""],
    concepts: Int[Tensor, " pair"] | None = None,
    *,
    group: ProcessGroup | None = None,
    tile_size: int,
) -> Float[Tensor, ""]:
    """Compute `sigmoid_loss` of features of unit length, in tiles of `tile_size` squared.

    Args:
        images: One row a pair.
        texts: One row a pair.
        logit_scale: Log of the inverse temperature.
        logit_bias: Added to each scaled similarity.
        concepts: Concept of each pair; other pairs of one concept are left out of the sum.
        group: The ranks that the batch is distributed over, with the same number of pairs each.
        tile_size: Rows and columns of a tile.
    """
    inputs = (images, texts, logit_scale, logit_bias)
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    options = _RingOptions(concepts, group, tile_size, needs_grad)
    return _RingSigmoid.apply(options, *inputs)  # pyright: ignore[reportReturnType]


class _RingOptions(NamedTuple):
    """The arguments without a gradient, and whether the others need one."""

    concepts: Int[Tensor, " pair"] | None
    group: ProcessGroup | None
    tile_size: int
    needs_grad: bool


class _RingSigmoid(Function):
    @staticmethod
    def forward(ctx: Any, options: _RingOptions, *inputs: Tensor) -> Tensor:
        images, texts, logit_scale, logit_bias = inputs
        sums = _SigmoidAccumulator(images * logit_scale.exp(), logit_bias, options)
        grad_texts = _ring_pass(sums, texts, options)
        if options.needs_grad:
            pairs = len(images)
            grad_scale = (sums.grad_images * sums.images).sum(1).sum() / pairs
            grad_images = sums.grad_images.mul_(logit_scale.exp() / pairs)
            grad_bias = sums.grad_bias.sum() / pairs
            ctx.save_for_backward(grad_images, grad_texts.div_(pairs), grad_scale, grad_bias)
        return sums.loss.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, *(gradient * saved for saved in ctx.saved_tensors)


def _ring_pass(
    accumulator: _SigmoidAccumulator, texts: Float[Tensor, "pair embed"], options: _RingOptions
) -> Float[Tensor, "pair embed"]:
    """Process every rank's texts once; returns the gradient of our own, from all ranks."""
    group = options.group
    _, size = rank_and_size(group)
    grad_texts = torch.zeros_like(texts)
    buffers = [texts] if options.concepts is None else [texts, options.concepts]
    buffers = [tensor.contiguous() for tensor in buffers]
    for hop in range(size):
        # The next texts are received while these are processed.
        finish = (
            start_ring_exchange(buffers, group) if group is not None and hop + 1 < size else None
        )
        accumulator.accumulate(*buffers, grad_texts=grad_texts, is_local=hop == 0)
        if finish is not None:
            buffers = finish()
        if group is not None and size > 1 and options.needs_grad:
            (grad_texts,) = ring_exchange([grad_texts], group)
    return grad_texts


class _SigmoidAccumulator:
    """Accumulates the loss of each of our images, and the gradients."""

    def __init__(
        self, images: Float[Tensor, "pair embed"], bias: Float[Tensor, ""], options: _RingOptions
    ) -> None:
        """Start at zero; `images` are multiplied by the scale."""
        self.images, self.bias, self.options = images, bias, options
        self.loss, self.grad_bias = images.new_zeros(2, len(images))
        self.grad_images = torch.zeros_like(images) if options.needs_grad else images

    def accumulate(
        self,
        texts: Float[Tensor, "pair embed"],
        concepts: Int[Tensor, " pair"] | None = None,
        *,
        grad_texts: Float[Tensor, "pair embed"],
        is_local: bool,
    ) -> None:
        """Add one rank's texts (our own if `is_local`), and their gradients to `grad_texts`."""
        for row, column in iter_tiles(len(self.images), len(texts), self.options.tile_size):
            logits = torch.addmm(self.bias, self.images[row], texts[column].T)
            # The diagonal of the positive pairs, or one outside of the tile, which is empty. The
            # logit of a positive pair has the opposite sign.
            offset = row.start - column.start if is_local else len(texts)
            pairs = logits.diagonal(offset).neg_()
            if self.options.concepts is not None and concepts is not None:
                same = self.options.concepts[row, None] == concepts[column]
                same.diagonal(offset).fill_(False)
                logits.masked_fill_(same, float("-inf"))
            self.loss[row] += F.softplus(logits).sum(1)
            if self.options.needs_grad:
                grad_logits = logits.sigmoid_()
                pairs.neg_()
                self.grad_bias[row] += grad_logits.sum(1)
                self.grad_images[row].addmm_(grad_logits, texts[column])
                grad_texts[column].addmm_(grad_logits.T, self.images[row])
