"""What one step optimises: a batch to a loss and its gradients, in one pass or in parts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

from twinlens.distributed.world import World
from twinlens.errors import DataError
from twinlens.images.decode import normalize
from twinlens.model.loss.contrastive import contrastive_loss, sigmoid_loss
from twinlens.train.parallel import Features, statistics_kept, synchronised

if TYPE_CHECKING:
    from twinlens.checkpoints.head import Classifier
    from twinlens.data.loader import Batch
    from twinlens.model.clip import CLIP
    from twinlens.train.recipes.recipe import Compute


class Task(Protocol):
    """A loss over the features of a whole batch: encoded at once or in parts, it is the same."""

    towers: nn.Module

    def encode(self, batch: Batch) -> Features:
        """The features of a batch or of a part of one."""
        ...

    def loss(self, features: Features, batch: Batch) -> Float32[Tensor, ""]:
        """The loss of a batch; its mean over the processes is that of their batches joined."""
        ...


class PairTask:
    """Images and texts that belong together: the softmax loss of CLIP or the sigmoid of SigLIP.

    Where a batch has several sets of captions, it is the mean of their losses: an image is
    encoded once and learns from all of them.
    """

    def __init__(
        self, model: CLIP, towers: nn.Module, world: World, compute: Compute, dtype: torch.dtype
    ) -> None:
        self.model = model
        self.towers = towers
        self.world = world
        self.tile = compute.tile or None
        self.dtype = dtype

    def encode(self, batch: Batch) -> Features:
        """Image features [pair, embed] and text features [set, pair, embed]."""
        images = pixels_of(batch, self.model, self.dtype)
        tokens = batch.tokens.to(images.device, non_blocking=True)
        kept = None if batch.kept is None else batch.kept.to(images.device, non_blocking=True)
        image_features, text_features = self.towers(images, tokens.flatten(0, 1), kept)
        return image_features, text_features.view(*tokens.shape[:2], -1)

    def loss(self, features: Features, batch: Batch) -> Float32[Tensor, ""]:
        """The mean over the sets of captions."""
        image_features, text_features = features
        concepts = batch.concepts.to(image_features.device, non_blocking=True)
        losses = [
            self._of_one_set(image_features, texts, same)
            for texts, same in zip(text_features, concepts, strict=True)
        ]
        return torch.stack(losses).mean()

    def _of_one_set(self, images: Tensor, texts: Tensor, concepts: Tensor) -> Tensor:
        model, group, tile = self.model, self.world.group, self.tile
        scale, bias = model.logit_scale, model.logit_bias
        if bias is None:
            return contrastive_loss(images, texts, scale, concepts, group=group, tile=tile)
        return sigmoid_loss(images, texts, scale, bias, concepts, group=group, tile=tile)


class ClassTask:
    """Images and their classes: cross-entropy of a classifier over the image features."""

    def __init__(
        self,
        model: CLIP,
        head: Classifier,
        towers: nn.Module,
        *,
        label_smoothing: float,
        dtype: torch.dtype,
    ) -> None:
        self.model = model
        self.head = head
        self.towers = towers
        self.label_smoothing = label_smoothing
        self.dtype = dtype

    def encode(self, batch: Batch) -> Features:
        """Image features [pair, embed] alone."""
        images = pixels_of(batch, self.model, self.dtype)
        kept = None if batch.kept is None else batch.kept.to(images.device, non_blocking=True)
        return self.towers(images, None, kept)

    def loss(self, features: Features, batch: Batch) -> Float32[Tensor, ""]:
        """The mean over the images."""
        if batch.labels is None:
            raise DataError("training data: got images without labels, expected one for each")
        logits = self.head(features[0], self.model.logit_scale)
        labels = batch.labels.to(logits.device, non_blocking=True)
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def pixels_of(batch: Batch, model: CLIP, dtype: torch.dtype) -> Tensor:
    """A batch's images as the image tower takes them, normalised on its device."""
    pixels = batch.pixels.to(model.logit_scale.device, non_blocking=True)
    return normalize(pixels, model.config.image_input).to(dtype)


def backward(task: Task, batch: Batch, parts: int, lots: Sequence[int]) -> Float32[Tensor, ""]:
    """The loss of a batch, its gradients left in the parameters.

    In several parts no more than one part's activations are held at a time (GradCache, Gao et al.
    2021, section 3): features first, without gradients; then the loss of the whole batch over them;
    then each part again, from the gradient of its features. Loss and gradients are those of the
    one big batch, the scale's among them, and what is drawn at random in a part is drawn twice
    alike.

    Args:
        task: The towers and the loss.
        batch: This process's pairs of the step.
        parts: How many to cut it into; a divisor of its size.
        lots: What decides random numbers of the towers, such as (seed, step, rank).
    """
    if parts == 1:
        with drawn_by(*lots, 0, like=batch.pixels):
            features = task.encode(batch)
        loss = task.loss(features, batch)
        loss.backward()
        return loss.detach()
    cut = split(batch, parts)
    with torch.no_grad(), statistics_kept(task.towers):
        cached = [_encode_part(task, part, (*lots, i)) for i, part in enumerate(cut)]
    whole = tuple(
        torch.cat(pieces, dim=-2).requires_grad_() for pieces in zip(*cached, strict=True)
    )
    loss = task.loss(whole, batch)
    loss.backward()
    if not any(parameter.requires_grad for parameter in task.towers.parameters()):
        return loss.detach()
    size = len(batch.pixels) // parts
    for i, part in enumerate(cut):
        with synchronised(task.towers, i == parts - 1):
            features = _encode_part(task, part, (*lots, i))
            slopes = [_gradient(w).narrow(-2, i * size, size) for w in whole]
            learned = [feature.requires_grad for feature in features]  # a locked tower's are not
            torch.autograd.backward(
                list(compress(features, learned)), list(compress(slopes, learned))
            )
    return loss.detach()


def _encode_part(task: Task, part: Batch, lots: Sequence[int]) -> Features:
    with drawn_by(*lots, like=part.pixels):
        return task.encode(part)


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def split(batch: Batch, parts: int) -> list[Batch]:
    """A batch cut into equal parts, in order."""
    size = len(batch.pixels) // parts
    return [
        replace(
            batch,
            pixels=batch.pixels[i : i + size],
            tokens=batch.tokens[:, i : i + size],
            concepts=batch.concepts[:, i : i + size],
            kept=None if batch.kept is None else batch.kept[i : i + size],
            labels=None if batch.labels is None else batch.labels[i : i + size],
        )
        for i in range(0, size * parts, size)
    ]


@contextmanager
def drawn_by(*lots: int, like: Tensor) -> Generator[None]:
    """Random numbers of torch as a function of `lots` alone; outside, they go on as before."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(lots).generate_state(1, np.uint64)[0] >> 1))
        yield


def average_gradients(parameters: Sequence[nn.Parameter], world: World) -> None:
    """The mean over the processes, for the few parameters that are outside the towers."""
    for parameter in parameters:
        if world.group is not None and parameter.grad is not None:
            dist.all_reduce(parameter.grad, group=world.group)
            parameter.grad /= world.world_size
