"""What a fine-tuning run starts from: a checkpoint's weights and words, and a first classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from twinlens import hub
from twinlens.checkpoints.head import Head
from twinlens.checkpoints.reader import load_model
from twinlens.data.datasets import Dataset
from twinlens.distributed.world import World
from twinlens.embed.embedder import Embedder
from twinlens.errors import ConfigError, DataError
from twinlens.model.clip import CLIP
from twinlens.text.loading import AnyTokenizer, load_tokenizer
from twinlens.train.recipes.recipe import Recipe

STRENGTHS = tuple(10.0**power for power in range(-7, 0))
"""Of the probe's weight decay, to choose from."""

HELD_OUT = 0.2
"""Share of the samples that chooses."""


@dataclass(frozen=True, slots=True)
class Start:
    """A checkpoint to go on from.

    Attributes:
        model: Its weights in float32, on the processor.
        tokenizer: Its vocabulary.
        digest: Of the weights, so that a resumed run notices others.
        head: The classifier to begin with, where the recipe trains one.
    """

    model: CLIP
    tokenizer: AnyTokenizer
    digest: str
    head: Head | None = None


def start_of(
    recipe: Recipe, dataset: Dataset, device: str = "auto", world: World | None = None
) -> Start:
    """Read what the recipe starts from.

    Args:
        recipe: What is to be trained.
        dataset: The training data.
        device: Where the images are embedded for a first classifier.
        world: The processes that start together, all with the leader's classifier.

    Raises:
        ConfigError: The recipe's model is another than the checkpoint's.
        DataError: A classifier is to be trained and the data have fewer than two classes.
    """
    path = hub.resolve(recipe.init)
    model = load_model(path)
    if replace(model.config, provenance=recipe.model.provenance) != recipe.model:
        raise ConfigError(f"model: got another configuration than that of {recipe.init!r}")
    tokenizer = load_tokenizer(path, model.config)
    head = None
    if recipe.adapt.head != "none":
        head = first_head(
            Embedder(model, tokenizer, device=device, precision="fp32", decode="exact"),
            recipe,
            dataset,
        )
        # Where machines differ a solver may end elsewhere, and no step would bring them together.
        head = (world or World()).gathered(head)[0]
    return Start(model, tokenizer, digest_of(model.state_dict()), head)


def first_head(lens: Embedder, recipe: Recipe, dataset: Dataset) -> Head:
    """The classifier that training begins with.

    Raises:
        DataError: There are fewer than two classes, a label is none of them, or fewer than two
            labelled images can be read.
    """
    names = tuple(dataset.classnames)
    if len(names) < 2:
        raise DataError(f"{dataset.name}: got {len(names)} classes, expected at least two")
    if recipe.adapt.head == "zero-shot":
        templates = [template.replace("{c}", "{}") for template in dataset.templates]
        spoken = [dataset.spoken.get(name, name) for name in names]
        words = lens.zero_shot_classifier(spoken, templates or None)
        return Head(names, torch.from_numpy(words).contiguous())
    features, labels = _features(lens, dataset)
    weight = linear_probe(features, labels, len(names), seed=recipe.seed)
    # A classifier's logits are on the model's scale.
    return Head(names, weight / lens.model.logit_scale.detach().float().exp().cpu())


def _features(
    lens: Embedder, dataset: Dataset
) -> tuple[Float32[Tensor, "image embed"], Int64[Tensor, " image"]]:
    """Embeddings and classes of the labelled images that can be read."""
    places = {name: i for i, name in enumerate(dataset.classnames)}
    labels: list[int] = []

    def images() -> Iterator[bytes]:
        for sample in dataset.samples:
            if sample.label is None:
                continue
            if sample.label not in places:
                raise DataError(
                    f"{dataset.name}: {sample.key}: got the label {sample.label!r}, "
                    "expected one of the class names"
                )
            with suppress(DataError):  # the training loop counts and lists those
                image = sample.image_bytes()
                labels.append(places[sample.label])
                yield image

    features, failures = lens.embed_readable_images(images())
    kept = [label for i, label in enumerate(labels) if i not in failures]
    if len(kept) < 2:
        raise DataError(
            f"{dataset.name}: got {len(kept)} labelled images that can be read, "
            "expected some of each class"
        )
    return torch.from_numpy(features), torch.tensor(kept)


def linear_probe(
    features: Float32[Tensor, "sample embed"],
    labels: Int64[Tensor, " sample"],
    classes: int,
    *,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> Float32[Tensor, "embed class"]:
    """Logistic regression (paper section 3.2), its decay chosen on a held-out part."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(features)))
    out = max(1, round(HELD_OUT * len(features)))
    held, rest = order[:out], order[out:]

    def loss_held_out(strength: float) -> float:
        weight = _regression(features[rest], labels[rest], classes, strength)
        return float(F.cross_entropy(features[held] @ weight, labels[held]))

    return _regression(features, labels, classes, min(strengths, key=loss_held_out))


def _regression(features: Tensor, labels: Tensor, classes: int, strength: float) -> Tensor:
    weight = torch.zeros(features.shape[1], classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        decay = strength / 2 * weight.square().sum()
        loss = F.cross_entropy(features @ weight, labels) + decay
        loss.backward()
        return loss

    solver.step(closure)  # pyright: ignore[reportArgumentType]  it takes a tensor as well
    return weight.detach()


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Sixteen digits that tell weights from others."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
