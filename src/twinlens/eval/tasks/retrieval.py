"""Retrieval of images by captions and of captions by images, with any number of captions an image.

The paper's Flickr30k and COCO have five captions an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.eval.metrics.retrieval_ranks import (
    RetrievalMetrics,
    measure_retrieval,
    rank_metrics,
    top_candidates,
)
from twinlens.eval.metrics.statistics import bootstrap, confidence_intervals
from twinlens.eval.requirements import require_captions
from twinlens.eval.results.result import Evidence, TaskResult, digest_samples
from twinlens.types import no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.embed.dataset import EmbeddedDataset
    from twinlens.eval.context import EvalContext
    from twinlens.types import Embeddings, ProgressCallback

_NUM_CANDIDATES = 5
"""Candidates of an example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievedCandidate:
    """A candidate for a query: a text, or an image by its index in the data set."""

    text: str | None
    index: int | None
    score: float
    is_relevant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalExample:
    """A query, the rank (from 1) of its first right candidate, and its best candidates.

    A query is a text, or an image by its index in the data set.
    """

    text: str | None
    index: int | None
    rank: int
    candidates: tuple[RetrievedCandidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalResult(TaskResult):
    """Retrieval of images by captions and of captions by images.

    The metrics are `image_retrieval_recall@k` (texts are queries) and `text_retrieval_recall@k`
    (images are queries), as CLIP_benchmark has them, and of either the median rank (from 1) and the
    mean reciprocal rank.

    Attributes:
        num_texts: Number of captions.
        num_uncaptioned: Number of images without a caption: candidates for texts, but no queries.
        num_truncated_texts: Number of captions that were longer than the model's context, and cut.
        examples: Queries with the best ranks and queries with the worst.
    """

    num_texts: int
    num_uncaptioned: int
    num_truncated_texts: int
    examples: list[RetrievalExample]

    def details(self) -> dict[str, Any]:
        """Counts of texts."""
        return {
            "texts": self.num_texts,
            "uncaptioned": self.num_uncaptioned,
            "cut_texts": self.num_truncated_texts,
        }


def evaluate_retrieval(
    context: EvalContext, dataset: Dataset, *, progress: ProgressCallback = no_progress
) -> RetrievalResult:
    """Measure retrieval of images by captions and of captions by images.

    Args:
        context: The model's features.
        dataset: Images with captions, any number each.
        progress: Called with the progress of the ranks.

    Raises:
        DataError: There are no captions, or more than 1% of the images cannot be decoded.
    """
    embedded = context.embed_dataset(dataset)
    require_captions(dataset.name, embedded.samples)
    captions = [caption for sample in embedded.samples for caption in sample.captions]
    counts = [len(sample.captions) for sample in embedded.samples]
    image_indices = np.repeat(np.arange(len(counts)), counts)
    texts, num_truncated = context.embed_texts(captions)
    measured = measure_retrieval(
        embedded.embeddings,
        texts,
        image_indices,
        device=context.embedder.device,
        progress=progress,
        world=context.world,
    )
    query_images = np.flatnonzero(np.array(counts))
    replicates, correct = _bootstrap_images(measured, query_images, image_indices)
    return RetrievalResult(
        task="zeroshot_retrieval",
        dataset=dataset.name,
        metrics=measured.metrics,
        intervals=confidence_intervals(replicates, measured.metrics, len(query_images)),
        chance=measured.chance,
        num_samples=measured.num_images,
        unreadable=embedded.unreadable,
        notes=_notes(measured.num_uncaptioned, num_truncated),
        num_texts=measured.num_texts,
        num_uncaptioned=measured.num_uncaptioned,
        num_truncated_texts=num_truncated,
        examples=build_examples(embedded, captions, texts, image_indices, measured),
        evidence=Evidence(
            samples_digest=digest_samples((one.key, one.captions) for one in embedded.samples),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
            correct=correct,
        ),
    )


def _bootstrap_images(
    measured: RetrievalMetrics, query_images: NDArray[np.int64], image_indices: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.bool_]]]:
    """Resample images with all their captions, which are not independent of each other."""
    order = np.argsort(image_indices, kind="stable")
    counts = np.bincount(image_indices, minlength=measured.num_images)
    ends = np.cumsum(counts)

    def resampled(rows: NDArray[np.int64]) -> dict[str, float]:
        images = query_images[rows]
        lengths = counts[images]
        first = np.repeat(ends[images] - np.cumsum(lengths), lengths)
        own = order[first + np.arange(len(first))]
        image_counts = np.bincount(measured.text_ranks[own], minlength=measured.num_images)
        text_counts = np.bincount(measured.image_ranks[images], minlength=measured.num_texts)
        return rank_metrics("image", image_counts) | rank_metrics("text", text_counts)

    keys = [key for key in measured.metrics if "recall@" in key]
    ranks = {"image": measured.text_ranks, "text": measured.image_ranks[query_images]}
    correct = {key: ranks[key.split("_")[0]] < int(key.split("@")[1]) for key in keys}
    return bootstrap(resampled, len(query_images)), correct


def _notes(num_uncaptioned: int, num_truncated: int) -> tuple[str, ...]:
    notes: list[str] = []
    if num_uncaptioned:
        notes.append(f"{num_uncaptioned:,} images have no caption: none looks for them")
    if num_truncated:
        notes.append(f"{num_truncated:,} captions were longer than the model reads, and cut")
    return tuple(notes)


def build_examples(
    embedded: EmbeddedDataset,
    captions: Sequence[str],
    texts: Embeddings,
    image_indices: NDArray[np.int64],
    measured: RetrievalMetrics,
    *,
    num_examples: int = 4,
) -> list[RetrievalExample]:
    """Show queries with the best ranks, best first, then others with the worst, worst first.

    Captions come first, then images; those without a right answer are left out.

    Args:
        embedded: The images.
        captions: Their captions.
        texts: Embeddings of the captions.
        image_indices: Index of each caption's image.
        measured: The ranks.
        num_examples: Number of the best and of the worst.
    """
    indices, images = embedded.indices.tolist(), embedded.embeddings

    def named(number: int, *, is_text: bool) -> dict[str, Any]:
        if is_text:
            return {"text": captions[number], "index": None}
        return {"text": None, "index": indices[number]}

    def candidate(query: int, number: int, score: float, *, by_text: bool) -> RetrievedCandidate:
        text, image = (query, number) if by_text else (number, query)
        is_relevant = bool(image_indices[text] == image)
        shown = named(number, is_text=not by_text)
        return RetrievedCandidate(**shown, score=score, is_relevant=is_relevant)

    directions = (
        (True, texts, images, measured.text_ranks),
        (False, images, texts, measured.image_ranks),
    )
    return [
        RetrievalExample(
            **named(query, is_text=by_text),
            rank=rank + 1,
            candidates=tuple(candidate(query, *one, by_text=by_text) for one in best),
        )
        for by_text, queries, candidates, ranks in directions
        for chosen in _best_and_worst(ranks, len(candidates), num_examples)
        for query, rank, best in _top_candidates(queries, candidates, ranks, chosen)
    ]


def _top_candidates(
    queries: Embeddings,
    candidates: Embeddings,
    ranks: NDArray[np.int64],
    chosen: NDArray[np.int64],
) -> Iterator[tuple[int, int, list[tuple[int, float]]]]:
    """Chosen queries with their ranks, and the indices and scores of their best candidates."""
    k = min(_NUM_CANDIDATES, len(candidates))
    numbers, scores = top_candidates(queries[chosen], candidates, k)
    for query, best, best_scores in zip(chosen.tolist(), numbers, scores, strict=True):
        yield query, int(ranks[query]), list(zip(best.tolist(), best_scores.tolist(), strict=True))


def _best_and_worst(
    ranks: NDArray[np.int64], num_candidates: int, num_examples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.argsort(ranks, kind="stable")
    order = order[ranks[order] < num_candidates]
    return order[:num_examples], order[num_examples:][::-1][:num_examples]
