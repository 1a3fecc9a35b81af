"""Features of pairs, and what each loss and its gradients are for them, for tests of all forms."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from twinlens.model.loss.contrastive import contrastive_loss, sigmoid_loss

KINDS = ("softmax", "sigmoid")


@dataclass
class Answer:
    """A loss and its gradients."""

    loss: Tensor
    images: Tensor
    texts: Tensor
    scale: Tensor
    bias: Tensor


def some_pairs(
    count: int, *, embed: int = 16, dtype: torch.dtype = torch.float32, concepts: int = 0
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features that match a little, as in training, and of how many concepts they are, if any."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randn(count, embed, generator=generator)
    texts = images + 2 * torch.randn(count, embed, generator=generator)
    numbers = torch.randint(0, concepts, (count,), generator=generator) if concepts else None
    return images.to(dtype), texts.to(dtype), numbers


def answer(
    kind: str,
    images: Tensor,
    texts: Tensor,
    concepts: Tensor | None,
    *,
    log_scale: float = 2.3,
    group: ProcessGroup | None = None,
    tile: int | None = None,
) -> Answer:
    """Loss and gradients; with a group, of this rank's part of the pairs."""
    if group is not None:
        mine = slice(*(len(images) // group.size() * r for r in (group.rank(), group.rank() + 1)))
        images, texts = images[mine], texts[mine]
        concepts = None if concepts is None else concepts[mine]
    images, texts = (features.clone().requires_grad_() for features in (images, texts))
    scale, bias = torch.tensor([log_scale, -3.0]).unbind()
    scale, bias = (tensor.clone().requires_grad_() for tensor in (scale, bias))
    settings = {"group": group, "tile_size": tile}
    if kind == "softmax":
        loss = contrastive_loss(images, texts, scale, concepts, **settings)
        bias.grad = torch.zeros(())
    else:
        loss = sigmoid_loss(images, texts, scale, bias, concepts, **settings)
    (loss / 2).backward()  # as one of two sets of captions
    gradients = [2 * tensor.grad for tensor in (images, texts, scale, bias)]
    return Answer(loss.detach(), *gradients)


def mean(answers: list[Answer]) -> Answer:
    """What data parallelism makes of the ranks' answers."""
    size = len(answers)
    return Answer(
        loss=torch.stack([one.loss for one in answers]).mean(),
        images=torch.cat([one.images for one in answers]) / size,
        texts=torch.cat([one.texts for one in answers]) / size,
        scale=torch.stack([one.scale for one in answers]).mean(),
        bias=torch.stack([one.bias for one in answers]).mean(),
    )


def assert_alike(got: Answer, expected: Answer, tolerance: float = 1e-5) -> None:
    """Loss and gradients are the same to a relative `tolerance`, tensor by tensor."""
    for name in ("loss", "images", "texts", "scale", "bias"):
        one, other = getattr(got, name).double(), getattr(expected, name).double()
        assert one.shape == other.shape, name
        assert (one - other).norm() <= tolerance * other.norm(), name
