"""Where the right answer comes among all candidates, without the matrix of all scores.

A rank needs no sorting: it is the number of wrong candidates that score at least as much as the
best right one. So the scores of the right pairs are taken first, then the others pass by in tiles,
and each is counted for its image's rank and for its text's. Memory is that of the embeddings and
of a tile; the arithmetic is one product of the two matrices for both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from twinlens.distributed.world import World
from twinlens.errors import DataError, ShapeError

if TYPE_CHECKING:
    from twinlens.types import Count

TILE = 1024
"""Rows and columns of a tile: 4 MiB of scores, which a processor's cache holds."""

EQUAL = 1e-6
"""Scores of unit vectors this close are equal: so much may depend on the order of a sum."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranks:
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
    owner: Int[np.ndarray, " text"],
    *,
    tile: int = TILE,
    device: torch.device | str = "cpu",
    progress: Count | None = None,
    world: World | None = None,
) -> Ranks:
    """The rank of each image's best caption, and of each caption's image.

    A wrong candidate that scores as much as the right one comes before it. So ranks do not depend
    on the order of the data, and a model to which all is the same is right about nothing.

    Args:
        images: Unit vectors. Of a file mapped into memory a tile is read at a time.
        texts: Unit vectors; any number of them, in any order, belongs to an image.
        owner: The number of each text's image.
        tile: Rows and columns of scores that are held at a time.
        device: Where they are computed, in float32.
        progress: Told of the rows of tiles that are done.
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
    _check(images, texts, owner)
    owner, world = owner.astype(np.int64), world or World()
    of_images, of_texts = (t.to(device) for t in _least_ahead(images, texts, owner, tile))
    behind_images, behind_texts = (torch.zeros_like(t).long() for t in (of_images, of_texts))
    # The same room for each tile: new memory is cleared first, page by page.
    rooms = torch.empty((2, tile * tile), device=device)
    tops = world.share(range(0, len(images), tile))
    for done, top in enumerate(tops, 1):
        rows = slice(top, top + tile)
        some = _on(images[rows], device)
        for left in range(0, len(texts), tile):
            columns = slice(left, left + tile)
            others = _on(texts[columns], device)
            scores, below = rooms[:, : len(some) * len(others)].view(2, len(some), len(others))
            torch.mm(some, others.T, out=scores)
            _put_behind(scores, owner[columns] - top)
            behind_images[rows] += _below(scores, of_images[rows, None], below).sum(1).long()
            behind_texts[columns] += _below(scores, of_texts[columns], below).sum(0).long()
        if progress is not None:
            progress(done, len(tops), "rows of tiles")
    return Ranks(
        images=len(texts) - _summed(behind_images, world),
        texts=len(images) - _summed(behind_texts, world),
    )


def _check(
    images: Float[np.ndarray, "image embed"],
    texts: Float[np.ndarray, "text width"],
    owner: Int[np.ndarray, " owner"],
) -> None:
    """Make sure that the arrays belong together.

    Raises:
        DataError: There are no images or no texts, or a text's image is not among them.
        ShapeError: The embeddings differ in width, or the owners are not one a text.
    """
    if images.shape[1] != texts.shape[1]:
        raise ShapeError(f"texts: got width {texts.shape[1]}, expected {images.shape[1]}")
    if len(owner) != len(texts):
        raise ShapeError(f"owner: got {len(owner):,} numbers, expected {len(texts):,}, one a text")
    if not len(images) or not len(texts):
        found = f"{len(images):,} images and {len(texts):,} texts"
        raise DataError(f"retrieval: got {found}, expected some of both")
    wrong = owner[(owner < 0) | (owner >= len(images))]
    if len(wrong):
        raise DataError(f"owner: got {wrong[0]}, expected numbers in 0..{len(images) - 1}")


def _least_ahead(
    images: Float[np.ndarray, "image embed"],
    texts: Float[np.ndarray, "text embed"],
    owner: Int[np.ndarray, " text"],
    tile: int,
) -> tuple[Float[Tensor, " image"], Float[Tensor, " text"]]:
    """From which score on a wrong candidate comes before the right one; nan where none is right."""
    pairs = np.empty(len(texts), np.float32)
    for start in range(0, len(texts), tile):
        some = slice(start, start + tile)
        own, said = _on(images[owner[some]], "cpu"), _on(texts[some], "cpu")
        pairs[some] = (own * said).sum(1).numpy() - EQUAL
    best = np.full(len(images), np.nan, np.float32)
    np.fmax.at(best, owner, pairs)
    return torch.from_numpy(best), torch.from_numpy(pairs)


def _on(
    rows: Float[np.ndarray, "row embed"], device: torch.device | str
) -> Float[Tensor, "row embed"]:
    # PyTorch warns of memory that it may not write to, such as a mapped file's.
    rows = np.require(rows, requirements=("C", "W"))
    return torch.from_numpy(rows).to(device, torch.float32)


def _put_behind(scores: Float[Tensor, "image text"], owner: Int[np.ndarray, " text"]) -> None:
    """Put the right pairs below any score: no right answer comes before another."""
    columns = np.flatnonzero((owner >= 0) & (owner < len(scores)))
    scores[owner[columns], columns] = -torch.inf


def _below(
    scores: Float[Tensor, "image text"],
    least: Float[Tensor, "..."],
    out: Float[Tensor, "image text"],
) -> Float[Tensor, "image text"]:
    """1 where a score is below the least that comes before the right answer, 0 where it is not.

    What is not a number is not below, and so comes before.
    """
    # As float32 this is several times faster to make and to sum than as bool.
    return torch.lt(scores, least, out=out)


def _summed(counts: Int[Tensor, " query"], world: World) -> Int[np.ndarray, " query"]:
    return np.array(world.sums(counts.tolist())).astype(np.int64)


def top_candidates(
    queries: Float[np.ndarray, "query embed"],
    candidates: Float[np.ndarray, "candidate embed"],
    k: int,
    *,
    tile: int = TILE,
) -> tuple[Int[np.ndarray, "query k"], Float[np.ndarray, "query k"]]:
    """The `k` best candidates for each of a few queries, best first, and their scores.

    Candidates of equal scores are in their own order.

    Raises:
        ShapeError: There are fewer than `k` candidates.

    Example:
        >>> eye = np.eye(3, dtype=np.float32)
        >>> top_candidates(eye[1:2], eye, 2)[0].tolist()
        [[1, 0]]
    """
    if len(candidates) < k:
        raise ShapeError(f"candidates: got {len(candidates)}, expected at least k={k}")
    asked = _on(queries, "cpu")
    scores, numbers = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(candidates), tile):
        some = asked @ _on(candidates[start : start + tile], "cpu").T
        places = torch.arange(start, start + some.shape[1]).expand(len(queries), -1)
        joined, order = torch.cat([scores, some], 1).sort(dim=1, descending=True, stable=True)
        scores = joined[:, :k]
        numbers = torch.cat([numbers, places], 1).gather(1, order[:, :k])
    return numbers.numpy(), scores.numpy()


def chance_of_ranks(
    candidates: int, relevant: Int[np.ndarray, " query"]
) -> Float[np.ndarray, " rank"]:
    """How likely guessing puts the best right answer at each rank, averaged over the queries.

    The candidates are drawn without replacement; `relevant` says how many are right, for each
    query. The sum of the first `k` is the chance of recall@k, 1 - C(n - r, k) / C(n, k).

    Example:
        >>> chance_of_ranks(4, np.array([2])).round(3).tolist()
        [0.5, 0.333, 0.167, 0.0]
    """
    left = candidates - np.arange(candidates)
    chance = np.zeros(candidates)
    for right, queries in zip(*np.unique(relevant, return_counts=True), strict=True):
        none_so_far = np.cumprod(np.maximum(0, 1 - right / left))
        chance -= queries * np.diff(none_so_far, prepend=1.0)
    return chance / len(relevant)
