"""Retrieval: does the right text come up for a picture, and the right picture for a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from twinlens.errors import DataError, ShapeError
from twinlens.eval.metrics import wilson_interval
from twinlens.eval.prompts import names_of_classes
from twinlens.eval.zero_shot import embed_samples

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from twinlens.data.datasets import Dataset
    from twinlens.embedder import Embedder


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
) -> dict[str, object]:
    """Image-to-text recall@k: each picture's own name among `names` names of the data set.

    Names are drawn by `seed` where the data set has more; all their pictures are queries.

    Returns:
        `metrics` (CLIP_benchmark's keys `text_retrieval_recall@k`), their 95% `intervals`, the
        `chance` of each, and the counts.

    Raises:
        DataError: Fewer than `max(ks)` names, or more than 1% of the pictures are unreadable.
    """
    known = list(names_of_classes(dataset, language).items())
    picked = np.random.default_rng(seed).permutation(len(known))[:names]
    chosen = dict(known[i] for i in sorted(picked))
    if len(chosen) < max(ks):
        raise DataError(f"{dataset.name}: got {len(chosen)} names, expected at least {max(ks)}")
    samples = [sample for sample in dataset.samples if sample.label in chosen]
    read = embed_samples(lens, samples, dataset.name)
    texts = lens.embed_texts([template.replace("{}", name) for name in chosen.values()])
    scores = torch.from_numpy(read.embeddings @ texts.T)
    # By the name, not the class: two classes of one name are the same answer.
    own = np.array([chosen[str(sample.label)] for sample in read.samples])
    relevant = torch.from_numpy(own[:, None] == np.array(list(chosen.values())))
    recalls = {k: recall_at_k(scores, relevant, k=k) for k in ks}
    key = "text_retrieval_recall@{}".format
    return {
        "dataset": dataset.name,
        "task": "name_retrieval",
        "language": language,
        "metrics": {key(k): recall for k, recall in recalls.items()},
        "intervals": {key(k): wilson_interval(r, len(read.samples)) for k, r in recalls.items()},
        "chance": {key(k): k / len(chosen) for k in ks},
        "samples": len(read.samples),
        "names": len(chosen),
    }
