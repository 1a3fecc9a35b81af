"""Retrieval: does the right text come up for an image, and the right image for a text.

`measure` does both ways for images with any number of captions each, such as the five of the
paper's Flickr30k and COCO; `name_retrieval` looks for each image's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from twinlens.embed.dataset import CHUNK, chunk_starts, embed_samples
from twinlens.errors import DataError, ShapeError
from twinlens.eval.metrics.retrieval_ranks import (
    chance_of_ranks,
    first_relevant_ranks,
    top_candidates,
)
from twinlens.eval.metrics.statistics import wilson_interval
from twinlens.eval.prompts import names_of_classes

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.distributed.world import World
    from twinlens.embed.embedder import Embedder
    from twinlens.types import Count

KS = (1, 5, 10)
"""Of the recalls that are published."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Retrieval:
    """Retrieval both ways. Keys are CLIP_benchmark's: what is retrieved comes first in them.

    Attributes:
        metrics: `text_retrieval_*` of images that look for one of their captions and
            `image_retrieval_*` of captions that look for their image: `recall@1`, `@5` and `@10`
            in [0, 1], as far as there are so many candidates; `mean_reciprocal_rank` in (0, 1];
            and `median_rank`, from 1.
        chance: What guessing reaches in each of them.
        image_ranks: Of each image's best caption among all texts, from 0; the number of texts
            for an image without captions.
        text_ranks: Of each text's image among all images, from 0.
        samples: Images.
        texts: Captions.
        uncaptioned: How many of the images have no caption. They look for none, but are there
            to be mistaken for others.
    """

    metrics: dict[str, float]
    chance: dict[str, float]
    image_ranks: Int[np.ndarray, " image"]
    text_ranks: Int[np.ndarray, " text"]
    samples: int
    texts: int
    uncaptioned: int


def measure(
    images: Float[np.ndarray, "image embed"],
    texts: Float[np.ndarray, "text embed"],
    owner: Int[np.ndarray, " text"],
    *,
    device: torch.device | str = "cpu",
    progress: Count | None = None,
    world: World | None = None,
) -> Retrieval:
    """Let every image look for its captions among all texts, and every text for its image.

    An image has found its captions among the top k if one of them is there. Candidates of equal
    scores come before the right one (see `first_relevant_ranks`); a measure that draws among them
    is a little higher on data in which images share a caption.

    Args:
        images: Unit vectors.
        texts: Unit vectors.
        owner: The number of each text's image.
        device: Where scores are computed.
        progress: Told of how much is done.
        world: The processes that measure together, all with all embeddings.

    Raises:
        DataError: There are no images or no texts, a text's image is not among them, or an
            embedding is no unit vector.
        ShapeError: The embeddings differ in width, or the owners are not one a text.
    """
    for what, embeddings in (("images", images), ("texts", texts)):
        _check_unit(what, embeddings)
    ranks = first_relevant_ranks(
        images, texts, owner, device=device, progress=progress, world=world
    )
    captions = np.bincount(owner, minlength=len(images))
    asked = captions > 0
    found = np.bincount(ranks.images[asked], minlength=len(texts))
    found_by_text = np.bincount(ranks.texts, minlength=len(images))
    guessed = chance_of_ranks(len(texts), captions[asked])
    guessed_by_text = chance_of_ranks(len(images), np.ones(1, np.int64))
    return Retrieval(
        metrics=_summary("image", found_by_text) | _summary("text", found),
        chance=_summary("image", guessed_by_text) | _summary("text", guessed),
        image_ranks=ranks.images,
        text_ranks=ranks.texts,
        samples=len(images),
        texts=len(texts),
        uncaptioned=int((~asked).sum()),
    )


def _check_unit(what: str, embeddings: Float[np.ndarray, "row embed"]) -> None:
    """Make sure that rows are unit vectors, as nearly as 8 bits of mantissa hold them.

    Raises:
        DataError: One is not.
    """
    for start in chunk_starts(len(embeddings)):
        rows = embeddings[start : start + CHUNK].astype(np.float32, copy=False)
        lengths = np.linalg.norm(rows, axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) < 0.01))
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"{what}: got length {lengths[row]:.4g} in row {start + row}, expected unit vectors"
            )


def _summary(retrieved: str, weights: Num[np.ndarray, " rank"]) -> dict[str, float]:
    """The metrics of how many queries have each rank, or how likely it is."""
    ranks = np.arange(1, len(weights) + 1)
    so_far = weights.cumsum() / weights.sum()
    metrics = {f"recall@{k}": float(so_far[k - 1]) for k in KS if k <= len(weights)}
    # Half of the weight may come a rounding short of it.
    metrics["median_rank"] = float(np.searchsorted(so_far, 0.5 - 1e-9) + 1)
    metrics["mean_reciprocal_rank"] = float((weights / ranks).sum() / weights.sum())
    return {f"{retrieved}_retrieval_{key}": value for key, value in metrics.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A query: its number, the rank of its best right answer, and its best candidates in order."""

    query: int
    rank: int
    candidates: tuple[int, ...]
    scores: tuple[float, ...]


def examples(
    queries: Float[np.ndarray, "query embed"],
    candidates: Float[np.ndarray, "candidate embed"],
    ranks: Int[np.ndarray, " query"],
    *,
    few: int = 4,
) -> tuple[list[Example], list[Example]]:
    """The `few` queries with the best ranks, best first, and others with the worst, worst first.

    Args:
        queries: Unit vectors, images or texts.
        candidates: Unit vectors of the other kind; five of them are shown, or all if there are
            fewer.
        ranks: What `measure` found for the queries; those without a right answer are left out.
        few: How many of each.

    Example:
        >>> eye = np.eye(2, dtype=np.float32)
        >>> best, worst = examples(eye, eye, np.array([1, 0]), few=1)
        >>> best[0].query, best[0].candidates, worst[0].query
        (1, (1, 0), 0)
    """
    order = np.argsort(ranks, kind="stable")
    order = order[ranks[order] < len(candidates)]
    best, worst = order[:few], order[few:][::-1][:few]
    return _shown(queries, candidates, ranks, best), _shown(queries, candidates, ranks, worst)


def _shown(
    queries: Float[np.ndarray, "query embed"],
    candidates: Float[np.ndarray, "candidate embed"],
    ranks: Int[np.ndarray, " query"],
    picked: Int[np.ndarray, " few"],
) -> list[Example]:
    numbers, scores = top_candidates(queries[picked], candidates, min(5, len(candidates)))
    return [
        Example(query=query, rank=rank, candidates=tuple(best), scores=tuple(theirs))
        for query, rank, best, theirs in zip(
            picked.tolist(), ranks[picked].tolist(), numbers.tolist(), scores.tolist(), strict=True
        )
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRetrieval:
    """Recall@k by CLIP_benchmark's keys, with 95% intervals and what guessing would reach."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    chance: dict[str, float]
    samples: int
    names: int


def recall_at_k(
    scores: Float[Tensor, "query candidate"], relevant: Bool[Tensor, "query candidate"], *, k: int
) -> float:
    """Fraction of queries with at least one relevant candidate among the top k.

    This is the recall@k of the CLIP papers (0 or 1 per query), not true positives over positives.

    Raises:
        ShapeError: There are fewer than `k` candidates, or the shapes differ.

    Example:
        >>> recall_at_k(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.eye(2, dtype=torch.bool), k=1)
        0.5
    """
    if scores.shape != relevant.shape:
        raise ShapeError(f"relevant: got {list(relevant.shape)}, expected {list(scores.shape)}")
    if scores.shape[1] < k:
        raise ShapeError(f"candidates: got {scores.shape[1]}, expected at least k={k}")
    best = scores.topk(k, dim=1).indices
    return relevant.gather(1, best).any(dim=1).float().mean().item()


def name_retrieval(
    lens: Embedder,
    dataset: Dataset,
    *,
    names: int = 1000,
    language: str = "en",
    template: str = "{}",
    ks: tuple[int, ...] = (1, 5, 10),
    seed: int = 0,
) -> NameRetrieval:
    """Image-to-text recall@k: each image's own name among `names` names of the data set.

    Where the data set has more names, `seed` draws them; all images of those are the queries.
    Classes that share a name are one candidate.

    Raises:
        DataError: There are fewer than `max(ks)` names, no images, or more than 1% of the
            images are unreadable.
    """
    name_of = names_of_classes(dataset, language)
    known = sorted(set(name_of.values()))
    picked: list[int] = np.random.default_rng(seed).permutation(len(known))[:names].tolist()
    candidates = [known[i] for i in sorted(picked)]
    if len(candidates) < max(ks):
        raise DataError(f"{dataset.name}: got {len(candidates)} names, expected at least {max(ks)}")
    chosen = set(candidates)
    wanted = {label for label, name in name_of.items() if name in chosen}
    samples = [sample for sample in dataset.samples if sample.label in wanted]
    read = embed_samples(lens, samples, dataset.name)
    texts = lens.embed_texts([template.replace("{}", name) for name in candidates])
    scores = torch.as_tensor(read.embeddings @ texts.T)
    own = np.array([name_of[str(sample.label)] for sample in read.samples])
    relevant = torch.as_tensor(own[:, None] == np.array(candidates))
    recalls = {f"text_retrieval_recall@{k}": recall_at_k(scores, relevant, k=k) for k in ks}
    return NameRetrieval(
        metrics=recalls,
        intervals={key: wilson_interval(value, len(own)) for key, value in recalls.items()},
        chance={f"text_retrieval_recall@{k}": k / len(candidates) for k in ks},
        samples=len(own),
        names=len(candidates),
    )
