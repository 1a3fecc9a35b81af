"""Retrieval: does the right text come up for a picture, and the right picture for a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from twinlens.errors import DataError, ShapeError
from twinlens.eval.embedded import embed_samples
from twinlens.eval.prompts import names_of_classes
from twinlens.eval.statistics import wilson_interval

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.embedder import Embedder


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
    """Image-to-text recall@k: each picture's own name among `names` names of the data set.

    Where the data set has more names, `seed` draws them; all pictures of those are the queries.
    Classes that share a name are one candidate.

    Raises:
        DataError: There are fewer than `max(ks)` names, no pictures, or more than 1% of the
            pictures are unreadable.
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
