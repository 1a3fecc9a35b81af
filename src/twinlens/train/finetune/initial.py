"""The initial state of fine-tuning: a checkpoint's weights, tokenizer and classifier head."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from twinlens.checkpoints.head import ClassifierHead
from twinlens.checkpoints.reader import load_model
from twinlens.data.datasets import Dataset
from twinlens.distributed.world import World
from twinlens.embed.dataset import embed_dataset
from twinlens.embed.embedder import Embedder
from twinlens.embed.probe import LabelledFeatures, fit_linear_probe
from twinlens.errors import ConfigError, DataError
from twinlens.hub.resolve import resolve
from twinlens.model.clip import CLIP
from twinlens.text.loading import AnyTokenizer, load_tokenizer
from twinlens.train.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class InitialState:
    """A checkpoint to start from.

    Attributes:
        model: The model in float32 on the CPU.
        tokenizer: The checkpoint's tokenizer.
        weights_digest: Digest of the weights, so that a resumed run notices others.
        head: The initial classifier head, if the recipe trains one.
    """

    model: CLIP
    tokenizer: AnyTokenizer
    weights_digest: str
    head: ClassifierHead | None = None


def load_initial_state(
    recipe: Recipe, dataset: Dataset, device: str = "auto", world: World | None = None
) -> InitialState:
    """Load the checkpoint that the recipe starts from and fit the initial classifier head.

    Args:
        recipe: The recipe of the run.
        dataset: The training data.
        device: Device that embeds the images for the initial head.
        world: The processes of the run; all get the main process's classifier.

    Raises:
        ConfigError: The recipe's model configuration is not the checkpoint's.
        DataError: A classifier is trained and the data has fewer than two classes.
    """
    path = resolve(recipe.init)
    model = load_model(path)
    if replace(model.config, provenance=recipe.model.provenance) != recipe.model:
        raise ConfigError(f"model: got another configuration than that of {recipe.init!r}")
    tokenizer = load_tokenizer(path, model.config)
    head = None
    if not recipe.needs_captions:
        world = world or World()
        embedder = Embedder.from_model(
            model, tokenizer, device=device, precision="fp32", decode="exact"
        )
        head = fit_initial_head(embedder, recipe, dataset, world)
        # On different machines the solver may give different bits, which would never converge.
        head = world.all_gather(head)[0]
    return InitialState(model, tokenizer, digest_weights(model.state_dict()), head)


def fit_initial_head(
    embedder: Embedder, recipe: Recipe, dataset: Dataset, world: World | None = None
) -> ClassifierHead:
    """Make the classifier head that training starts with.

    Raises:
        DataError: There are fewer than two classes, a label is not one of them, or fewer than two
            labelled images can be read.
    """
    names = tuple(dataset.classnames)
    if len(names) < 2:
        raise DataError(f"{dataset.name}: got {len(names)} classes, expected at least two")
    if recipe.adapt.head == "zero-shot":
        templates = [template.replace("{c}", "{}") for template in dataset.templates]
        spoken = [dataset.spoken.get(name, name) for name in names]
        weights = embedder.zero_shot_classifier(spoken, templates or None)
        return ClassifierHead(names, np.ascontiguousarray(weights))
    data = _labelled_embeddings(embedder, dataset, world)
    probe = fit_linear_probe(data, len(names), bias=False, seed=recipe.seed)
    # The head multiplies its logits by the model's logit scale.
    return ClassifierHead(names, probe.weight / np.float32(embedder.logit_scale))


def _labelled_embeddings(
    embedder: Embedder, dataset: Dataset, world: World | None
) -> LabelledFeatures:
    """Embed the labelled images that can be decoded; returns embeddings and class indices."""
    numbers = {name: number for number, name in enumerate(dataset.classnames)}
    labelled = [sample for sample in dataset.samples if sample.label is not None]
    for sample in labelled:
        if sample.label not in numbers:
            raise DataError(
                f"{dataset.name}: {sample.key}: got the label {sample.label!r}, "
                "expected one of the class names"
            )
    # The training loop counts and lists the images that cannot be decoded.
    embedded = embed_dataset(
        embedder, labelled, dataset.name, world=world, max_unreadable_fraction=1.0
    )
    if len(embedded.samples) < 2:
        raise DataError(
            f"{dataset.name}: got {len(embedded.samples)} labelled images that can be read, "
            "expected some of each class"
        )
    targets = np.array([numbers[str(sample.label)] for sample in embedded.samples], np.int64)
    return LabelledFeatures(embedded.embeddings, targets)


def digest_weights(tensors: Mapping[str, Tensor]) -> str:
    """The first 16 hexadecimal digits of a SHA-256 of names and weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
