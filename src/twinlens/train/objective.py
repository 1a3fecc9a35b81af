"""Objectives: the loss of a batch and its gradients, in one pass or in chunks."""

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
from twinlens.inference.preprocess import normalize
from twinlens.model.loss.contrastive import contrastive_loss, sigmoid_loss
from twinlens.train.parallel import (
    TowerFeatures,
    TowerInputs,
    frozen_batch_norm_statistics,
    gradient_sync,
)

if TYPE_CHECKING:
    from twinlens.data.loader import Batch
    from twinlens.model.clip import CLIP
    from twinlens.train.finetune.classifier import ClassifierModule
    from twinlens.train.recipes.recipe import ComputeConfig


class Objective(Protocol):
    """A loss over the features of a whole batch, the same if they are encoded in chunks."""

    towers: nn.Module

    def inputs(self, batch: Batch) -> TowerInputs:
        """The arguments of the towers for a batch or a chunk of one, on the model's device."""
        ...

    def loss(self, features: TowerFeatures, batch: Batch) -> Float32[Tensor, ""]:
        """The loss of a batch; its mean over the processes is the loss of the global batch."""
        ...


class ContrastiveObjective:
    """Contrastive loss of image and text pairs: CLIP's softmax or SigLIP's sigmoid.

    If a batch has several caption sets, the loss is the mean of theirs: an image is encoded once
    and learns from all of them.
    """

    def __init__(
        self,
        model: CLIP,
        towers: nn.Module,
        world: World,
        compute: ComputeConfig,
        dtype: torch.dtype,
    ) -> None:
        self.model = model
        self.towers = towers
        self.world = world
        self.tile_size = compute.loss_tile_size or None
        self.dtype = dtype

    def inputs(self, batch: Batch) -> TowerInputs:
        """Images and captions."""
        return tower_inputs(batch, self.model, self.dtype, batch.tokens)

    def loss(self, features: TowerFeatures, batch: Batch) -> Float32[Tensor, ""]:
        """The mean over the caption sets."""
        image_features, text_features = features
        concepts = batch.concept_ids.to(image_features.device, non_blocking=True)
        losses = [
            self._caption_set_loss(image_features, texts, concept_ids)
            for texts, concept_ids in zip(text_features, concepts, strict=True)
        ]
        return torch.stack(losses).mean()

    def _caption_set_loss(self, images: Tensor, texts: Tensor, concepts: Tensor) -> Tensor:
        model, group, tile = self.model, self.world.group, self.tile_size
        scale, bias = model.logit_scale, model.logit_bias
        if bias is None:
            return contrastive_loss(images, texts, scale, concepts, group=group, tile_size=tile)
        return sigmoid_loss(images, texts, scale, bias, concepts, group=group, tile_size=tile)


class ClassificationObjective:
    """Cross-entropy of a classifier head over the image features."""

    def __init__(
        self,
        model: CLIP,
        head: ClassifierModule,
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

    def inputs(self, batch: Batch) -> TowerInputs:
        """Images only."""
        return tower_inputs(batch, self.model, self.dtype, None)

    def loss(self, features: TowerFeatures, batch: Batch) -> Float32[Tensor, ""]:
        """The mean over the images."""
        if batch.labels is None:
            raise DataError("training data: got images without labels, expected one for each")
        logits = self.head(features[0], self.model.logit_scale)
        labels = batch.labels.to(logits.device, non_blocking=True)
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def tower_inputs(
    batch: Batch, model: CLIP, dtype: torch.dtype, tokens: Tensor | None
) -> TowerInputs:
    """Images normalised on the model's device, tokens and patch indices moved to it."""
    device = model.logit_scale.device
    pixels, tokens, patch_indices = (
        None if tensor is None else tensor.to(device, non_blocking=True)
        for tensor in (batch.pixels, tokens, batch.patch_indices)
    )
    assert pixels is not None
    return normalize(pixels, model.config.preprocess_config).to(dtype), tokens, patch_indices


def backward(
    objective: Objective, batch: Batch, num_chunks: int, seed_key: Sequence[int]
) -> Float32[Tensor, ""]:
    """Compute the loss of a batch and leave its gradients in the parameters.

    With several chunks, only one chunk's activations are in memory at a time (GradCache, Gao et al.
    2021, section 3): first all features without gradients; then the loss of the whole batch over
    them; then each chunk again, backward from the gradient of its features. Loss and gradients are
    those of the whole batch, including the scale's; both passes draw the same random numbers.

    Args:
        objective: The towers and the loss.
        batch: This process's pairs of the step.
        num_chunks: Number of chunks; a divisor of the batch size.
        seed_key: Integers that seed the towers' random numbers, such as (seed, step, rank).
    """
    if num_chunks == 1:
        with seeded(*seed_key, 0):
            features = objective.towers(*objective.inputs(batch))
        loss = objective.loss(features, batch)
        loss.backward()
        return loss.detach()
    chunks = split_batch(batch, num_chunks)
    cached: list[TowerFeatures] = []
    for i, chunk in enumerate(chunks):
        with torch.no_grad(), frozen_batch_norm_statistics(objective.towers), seeded(*seed_key, i):
            cached.append(objective.towers(*objective.inputs(chunk)))
    whole = tuple(
        torch.cat(pieces, dim=-2).requires_grad_() for pieces in zip(*cached, strict=True)
    )
    loss = objective.loss(whole, batch)
    loss.backward()
    if not any(parameter.requires_grad for parameter in objective.towers.parameters()):
        return loss.detach()
    size = len(batch.pixels) // num_chunks
    for i, chunk in enumerate(chunks):
        with gradient_sync(objective.towers, i == num_chunks - 1):
            with seeded(*seed_key, i):
                features = objective.towers(*objective.inputs(chunk))
            gradients = [_require_gradient(w).narrow(-2, i * size, size) for w in whole]
            trained = [feature.requires_grad for feature in features]  # a locked tower's are not
            torch.autograd.backward(
                list(compress(features, trained)), list(compress(gradients, trained))
            )
    return loss.detach()


def _require_gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def split_batch(batch: Batch, num_chunks: int) -> list[Batch]:
    """Split a batch into equal chunks, in order."""
    size = len(batch.pixels) // num_chunks
    return [
        replace(
            batch,
            pixels=batch.pixels[i : i + size],
            tokens=batch.tokens[:, i : i + size],
            concept_ids=batch.concept_ids[:, i : i + size],
            patch_indices=None
            if batch.patch_indices is None
            else batch.patch_indices[i : i + size],
            labels=None if batch.labels is None else batch.labels[i : i + size],
        )
        for i in range(0, size * num_chunks, size)
    ]


@contextmanager
def seeded(*seed_key: int) -> Generator[None]:
    """Seed torch by `seed_key` in the block; its random state is restored afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(
            int(np.random.SeedSequence(seed_key).generate_state(1, np.uint64)[0] >> 1)
        )
        yield


def average_gradients(parameters: Sequence[nn.Parameter], world: World) -> None:
    """Average gradients over the processes, for the few parameters outside the towers."""
    for parameter in parameters:
        if world.group is not None and parameter.grad is not None:
            dist.all_reduce(parameter.grad, group=world.group)
            parameter.grad /= world.world_size
