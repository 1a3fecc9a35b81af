"""Retrieval metrics from the ranks of the right answers, without the matrix of all scores.

A rank needs no sorting: it is the number of wrong candidates that score at least as much as the
best right one. So the scores of the right pairs are computed first, then the others in tiles, and
each is counted for its image's rank and for its text's. Memory is that of the embeddings and of a
tile; the arithmetic is one product of the two matrices for both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from twinlens.distributed.world import World
from twinlens.errors import DataError, ShapeError, require
from twinlens.types import no_progress

if TYPE_CHECKING:
    from twinlens.types import ProgressCallback

TILE_SIZE = 1024
"""Rows and columns of a tile: 4 MiB of scores, which fit in a processor's cache."""

SCORE_TOLERANCE = 1e-6
"""Scores of unit vectors this close are equal: so much may depend on the order of a sum."""

RECALL_KS = (1, 5, 10)
"""The values of k of recall@k in publications."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrievalRanks:
    """The rank of the best right answer to each query, from 0.

    Attributes:
        images: Of each image's best caption among all texts; the number of texts, which is
            behind them all, for an image without captions.
        texts: Of each text's image among all images.
    """

    images: Int[np.ndarray, " image"]
    texts: Int[np.ndarray, " text"]


def first_relevant_ranks(
    images: Float[np.ndarray, "image embed"],
    texts: Float[np.ndarray, "text embed"],
    image_indices: Int[np.ndarray, " text"],
    *,
    tile_size: int = TILE_SIZE,
    device: torch.device | str = "cpu",
    progress: ProgressCallback = no_progress,
    world: World | None = None,
) -> RetrievalRanks:
    """Rank each image's best caption among all texts, and each caption's image among all images.

    A wrong candidate that scores as much as the right one comes before it. So ranks do not depend
    on the order of the data, and a model with equal scores for all is right about nothing.

    Args:
        images: Unit vectors. Of a memory-mapped file a tile is read at a time.
        texts: Unit vectors; any number of them, in any order, belongs to an image.
        image_indices: Index of each text's image.
        tile_size: Rows and columns of scores that are in memory at a time.
        device: Device of the scores, which are float32.
        progress: Called with the number of rows of tiles that are done.
        world: The processes that count together, each its share of the rows of tiles. All need all
            embeddings, and get all ranks. This one alone if not given.

    Raises:
        DataError: There are no images or no texts, or a text's image is not among them.
        ShapeError: The embeddings differ in width, or the owners are not one a text.

    Example:
        >>> eye = np.eye(2, dtype=np.float32)
        >>> ranks = first_relevant_ranks(eye, eye[[0, 1, 1]], np.array([0, 1, 0]))
        >>> ranks.images.tolist(), ranks.texts.tolist()
        ([0, 1], [0, 0, 1])
    """
    _check_inputs(images, texts, image_indices)
    image_indices, world = image_indices.astype(np.int64), world or World()
    of_images, of_texts = (
        t.to(device) for t in _rank_thresholds(images, texts, image_indices, tile_size)
    )
    behind_images, behind_texts = (torch.zeros_like(t).long() for t in (of_images, of_texts))
    # The same buffers for each tile: new memory is cleared first, page by page.
    buffers = torch.empty((2, tile_size * tile_size), device=device)
    tops = world.shard(range(0, len(images), tile_size))
    for done, top in enumerate(tops, 1):
        rows = slice(top, top + tile_size)
        tile_images = _to_tensor(images[rows], device)
        for left in range(0, len(texts), tile_size):
            columns = slice(left, left + tile_size)
            tile_texts = _to_tensor(texts[columns], device)
            shape = len(tile_images), len(tile_texts)
            scores, below = buffers[:, : shape[0] * shape[1]].view(2, *shape)
            torch.mm(tile_images, tile_texts.T, out=scores)
            _mask_relevant(scores, image_indices[columns] - top)
            behind_images[rows] += _is_below(scores, of_images[rows, None], below).sum(1).long()
            behind_texts[columns] += _is_below(scores, of_texts[columns], below).sum(0).long()
        progress(done, len(tops), "rows of tiles")
    return RetrievalRanks(
        images=len(texts) - _all_reduce_counts(behind_images, world),
        texts=len(images) - _all_reduce_counts(behind_texts, world),
    )


def _check_inputs(
    images: Float[np.ndarray, "image embed"],
    texts: Float[np.ndarray, "text width"],
    image_indices: Int[np.ndarray, " owner"],
) -> None:
    """Make sure that the arrays belong together.

    Raises:
        DataError: There are no images or no texts, or a text's image is not among them.
        ShapeError: The embeddings differ in width, or the owners are not one a text.
    """
    if images.shape[1] != texts.shape[1]:
        raise ShapeError(f"texts: got width {texts.shape[1]}, expected {images.shape[1]}")
    if len(image_indices) != len(texts):
        raise ShapeError(
            f"owner: got {len(image_indices):,} numbers, expected {len(texts):,}, one a text"
        )
    if not len(images) or not len(texts):
        found = f"{len(images):,} images and {len(texts):,} texts"
        raise DataError(f"retrieval: got {found}, expected some of both")
    wrong = image_indices[(image_indices < 0) | (image_indices >= len(images))]
    if len(wrong):
        raise DataError(f"owner: got {wrong[0]}, expected numbers in 0..{len(images) - 1}")


def _rank_thresholds(
    images: Float[np.ndarray, "image embed"],
    texts: Float[np.ndarray, "text embed"],
    image_indices: Int[np.ndarray, " text"],
    tile_size: int,
) -> tuple[Float[Tensor, " image"], Float[Tensor, " text"]]:
    """Least scores of wrong candidates that come before the right one; nan where none is right."""
    pairs = np.empty(len(texts), np.float32)
    for start in range(0, len(texts), tile_size):
        rows = slice(start, start + tile_size)
        own, captions = (
            _to_tensor(images[image_indices[rows]], "cpu"),
            _to_tensor(texts[rows], "cpu"),
        )
        pairs[rows] = (own * captions).sum(1).numpy() - SCORE_TOLERANCE
    best = np.full(len(images), np.nan, np.float32)
    np.fmax.at(best, image_indices, pairs)
    return torch.from_numpy(best), torch.from_numpy(pairs)


def _to_tensor(
    rows: Float[np.ndarray, "row embed"], device: torch.device | str
) -> Float[Tensor, "row embed"]:
    # PyTorch warns of memory that it may not write to, such as a mapped file's.
    rows = np.require(rows, requirements=("C", "W"))
    return torch.from_numpy(rows).to(device, torch.float32)


def _mask_relevant(
    scores: Float[Tensor, "image text"], image_indices: Int[np.ndarray, " text"]
) -> None:
    """Set the scores of right pairs to minus infinity: no right answer comes before another."""
    columns = np.flatnonzero((image_indices >= 0) & (image_indices < len(scores)))
    scores[image_indices[columns], columns] = -torch.inf


def _is_below(
    scores: Float[Tensor, "image text"],
    threshold: Float[Tensor, "..."],
    out: Float[Tensor, "image text"],
) -> Float[Tensor, "image text"]:
    """1 where a score is below the threshold, 0 where it is not; nan is not below."""
    # As float32 this is several times faster to make and to sum than as bool.
    return torch.lt(scores, threshold, out=out)


def _all_reduce_counts(counts: Int[Tensor, " query"], world: World) -> Int[np.ndarray, " query"]:
    return np.array(world.all_reduce_sum(counts.tolist())).astype(np.int64)


def top_candidates(
    queries: Float[np.ndarray, "query embed"],
    candidates: Float[np.ndarray, "candidate embed"],
    k: int,
    *,
    tile_size: int = TILE_SIZE,
) -> tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]:
    """Find the `k` best candidates for each of a few queries, best first, with their scores.

    Candidates of equal scores are in their own order.

    Raises:
        ShapeError: There are fewer than `k` candidates.

    Example:
        >>> eye = np.eye(3, dtype=np.float32)
        >>> top_candidates(eye[1:2], eye, 2)[0].tolist()
        [[1, 0]]
    """
    require(len(candidates) >= k, "candidates", len(candidates), f"at least k={k}", ShapeError)
    rows = _to_tensor(queries, "cpu")
    scores, numbers = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(candidates), tile_size):
        tile = rows @ _to_tensor(candidates[start : start + tile_size], "cpu").T
        indices = torch.arange(start, start + tile.shape[1]).expand(len(queries), -1)
        joined, order = torch.cat([scores, tile], 1).sort(dim=1, descending=True, stable=True)
        scores = joined[:, :k]
        numbers = torch.cat([numbers, indices], 1).gather(1, order[:, :k])
    return numbers.numpy(), scores.numpy()


def random_rank_probabilities(
    num_candidates: int, num_relevant: Int[np.ndarray, " query"]
) -> Float[np.ndarray, " rank"]:
    """Probability that guessing puts the best right answer at each rank, averaged over queries.

    The candidates are drawn without replacement; `num_relevant` is the number of right ones of each
    query. The sum of the first `k` is the chance of recall@k, 1 - C(n - r, k) / C(n, k).

    Example:
        >>> random_rank_probabilities(4, np.array([2])).round(3).tolist()
        [0.5, 0.333, 0.167, 0.0]
    """
    left = num_candidates - np.arange(num_candidates)
    chance = np.zeros(num_candidates)
    for right, queries in zip(*np.unique(num_relevant, return_counts=True), strict=True):
        none_so_far = np.cumprod(np.maximum(0, 1 - right / left))
        chance -= queries * np.diff(none_so_far, prepend=1.0)
    return chance / len(num_relevant)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrievalMetrics:
    """Metrics of retrieval both ways. Keys are CLIP_benchmark's: they begin with what is retrieved.

    Attributes:
        metrics: `text_retrieval_*` with images as queries and `image_retrieval_*` with captions as
            queries: `recall@1`, `@5` and `@10` in [0, 1], as far as there are so many candidates;
            `mean_reciprocal_rank` in (0, 1]; and `median_rank`, from 1.
        chance: The same metrics of guessing.
        image_ranks: Rank of each image's best caption among all texts, from 0; the number of texts
            for an image without captions.
        text_ranks: Rank of each text's image among all images, from 0.
        num_images: Number of images.
        num_texts: Number of captions.
        num_uncaptioned: Number of images without a caption. They are no queries, but candidates.
    """

    metrics: dict[str, float]
    chance: dict[str, float]
    image_ranks: Int[np.ndarray, " image"]
    text_ranks: Int[np.ndarray, " text"]
    num_images: int
    num_texts: int
    num_uncaptioned: int


def measure_retrieval(
    images: Float[np.ndarray, "image embed"],
    texts: Float[np.ndarray, "text embed"],
    image_indices: Int[np.ndarray, " text"],
    *,
    device: torch.device | str = "cpu",
    progress: ProgressCallback = no_progress,
    world: World | None = None,
) -> RetrievalMetrics:
    """Measure retrieval of texts by images and of images by texts.

    An image has a hit among the top k if one of its captions is there. Candidates of equal scores
    come before the right one (see `first_relevant_ranks`); a measure that draws among them is a
    little higher on data in which images share a caption.

    Args:
        images: Unit vectors.
        texts: Unit vectors.
        image_indices: Index of each text's image.
        device: Device of the scores.
        progress: Called with the number of rows of tiles that are done.
        world: The processes that measure together, all with all embeddings.

    Raises:
        DataError: There are no images or no texts, a text's image is not among them, or an
            embedding is no unit vector.
        ShapeError: The embeddings differ in width, or the owners are not one a text.
    """
    _check_unit_vectors("images", images)
    _check_unit_vectors("texts", texts)
    ranks = first_relevant_ranks(
        images, texts, image_indices, device=device, progress=progress, world=world
    )
    captions = np.bincount(image_indices, minlength=len(images))
    is_query = captions > 0
    text_counts = np.bincount(ranks.images[is_query], minlength=len(texts))
    image_counts = np.bincount(ranks.texts, minlength=len(images))
    text_chances = random_rank_probabilities(len(texts), captions[is_query])
    image_chances = random_rank_probabilities(len(images), np.ones(1, np.int64))
    return RetrievalMetrics(
        metrics=rank_metrics("image", image_counts) | rank_metrics("text", text_counts),
        chance=rank_metrics("image", image_chances) | rank_metrics("text", text_chances),
        image_ranks=ranks.images,
        text_ranks=ranks.texts,
        num_images=len(images),
        num_texts=len(texts),
        num_uncaptioned=int((~is_query).sum()),
    )


def _check_unit_vectors(what: str, embeddings: Float[np.ndarray, "row embed"]) -> None:
    """Make sure that rows are unit vectors, as nearly as 8 bits of mantissa hold them.

    Raises:
        DataError: One is not.
    """
    for start in range(0, len(embeddings), TILE_SIZE):
        rows = embeddings[start : start + TILE_SIZE].astype(np.float32, copy=False)
        lengths = np.linalg.norm(rows, axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) < 0.01))
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"{what}: got length {lengths[row]:.4g} in row {start + row}, expected unit vectors"
            )


def rank_metrics(retrieved: str, weights: Num[np.ndarray, " rank"]) -> dict[str, float]:
    """Compute metrics from the number of queries of each rank, or from its probability.

    Args:
        retrieved: Kind of the candidates: "image" or "text".
        weights: Weight of each rank from 0, as many as there are candidates.
    """
    ranks = np.arange(1, len(weights) + 1)
    cumulative = weights.cumsum() / weights.sum()
    metrics = {f"recall@{k}": float(cumulative[k - 1]) for k in RECALL_KS if k <= len(weights)}
    # Rounding may bring half of the weight a little below 0.5.
    metrics["median_rank"] = float(np.searchsorted(cumulative, 0.5 - 1e-9) + 1)
    metrics["mean_reciprocal_rank"] = float((weights / ranks).sum() / weights.sum())
    return {f"{retrieved}_retrieval_{key}": value for key, value in metrics.items()}
