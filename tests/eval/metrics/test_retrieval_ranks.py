"""Ranks by tiles against a full matrix that is looked at element by element."""

import inspect
import math
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed import ProcessGroup

from tests.processes import run_processes
from twinlens.distributed.world import World
from twinlens.errors import DataError, ShapeError
from twinlens.eval.metrics.retrieval_ranks import (
    SCORE_TOLERANCE,
    RetrievalRanks,
    first_relevant_ranks,
    measure_retrieval,
    random_rank_probabilities,
    top_candidates,
)


class Pairs(NamedTuple):
    images: np.ndarray
    texts: np.ndarray
    owner: np.ndarray


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def drawn(seed: int, images: int, texts: int, width: int) -> Pairs:
    """Images with any number of texts each, in any order; float32 has their scores exactly."""
    rng = np.random.default_rng(seed)
    rows = np.round(64 * unit(rng.normal(size=(images + texts, width)))) / np.float32(64)
    return Pairs(rows[:images], rows[images:], rng.integers(0, images, texts))


def alike(seed: int, images: int, texts: int, width: int) -> Pairs:
    """Images and texts that are all of a few kinds; float32 rounds their scores."""
    rng = np.random.default_rng(seed)
    rows = unit(rng.normal(size=(5, width)))[rng.integers(0, 5, images + texts)]
    return Pairs(rows[:images], rows[images:], rng.integers(0, images, texts))


def by_hand(pairs: Pairs) -> tuple[list[int], list[int]]:
    """The definition: wrong candidates that score no less than the best right one."""
    scores = pairs.images.astype(float) @ pairs.texts.astype(float).T
    images = [_rank(scores[i], pairs.owner == i) for i in range(len(pairs.images))]
    every = np.arange(len(pairs.images))
    texts = [_rank(scores[:, j], every == own) for j, own in enumerate(pairs.owner)]
    return images, texts


def _rank(scores: np.ndarray, right: np.ndarray) -> int:
    if not right.any():
        return len(scores)
    best = max(scores[right])
    return sum(score >= best - SCORE_TOLERANCE for score in scores[~right])


def as_lists(ranks: RetrievalRanks) -> tuple[list[int], list[int]]:
    return ranks.images.tolist(), ranks.texts.tolist()


sizes = given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 9),
    texts=st.integers(1, 25),
    tile=st.integers(2, 12),
)
some = settings(max_examples=40, deadline=None)


@sizes
@some
def test_ranks_are_those_of_the_full_matrix(seed: int, images: int, texts: int, tile: int):
    pairs = drawn(seed, images, texts, width=seed % 40 + 1)  # narrow ones have many ties
    assert as_lists(first_relevant_ranks(*pairs, tile_size=tile)) == by_hand(pairs)


@sizes
@some
def test_duplicates_tie_wherever_they_are(seed: int, images: int, texts: int, tile: int):
    # The last bits of a product depend on its shape and on the place in it: here they must not.
    pairs = alike(seed, images, texts, width=seed % 600 + 20)
    assert as_lists(first_relevant_ranks(*pairs, tile_size=tile)) == by_hand(pairs)


@sizes
@some
def test_the_order_of_the_data_does_not_matter(seed: int, images: int, texts: int, tile: int):
    pairs = alike(seed, images, texts, width=20)
    rng = np.random.default_rng(seed)
    by, to = rng.permutation(images), rng.permutation(texts)
    shuffled = Pairs(pairs.images[by], pairs.texts[to], np.argsort(by)[pairs.owner[to]])
    before, after = first_relevant_ranks(*pairs), first_relevant_ranks(*shuffled, tile_size=tile)
    assert as_lists(after) == (before.images[by].tolist(), before.texts[to].tolist())


def test_five_captions_a_image_in_tiles_that_do_not_fit():
    pairs = drawn(0, 301, 5 * 301, width=64)
    pairs = pairs._replace(owner=np.repeat(np.arange(301), 5))
    assert as_lists(first_relevant_ranks(*pairs, tile_size=128)) == by_hand(pairs)


def test_a_model_to_which_all_is_the_same_is_always_wrong():
    same = np.full((50, 512), 512**-0.5, np.float32)
    ranks = first_relevant_ranks(same[:10], same, np.repeat(np.arange(10), 5), tile_size=7)
    assert set(ranks.images.tolist()) == {45}
    assert set(ranks.texts.tolist()) == {9}


def test_what_is_no_number_comes_before_and_is_never_found():
    eye = np.eye(3, dtype=np.float32)
    images = eye.copy()
    images[2] = np.nan
    ranks = first_relevant_ranks(images, eye, np.arange(3))
    assert as_lists(ranks) == ([0, 0, 3], [1, 1, 3])


def test_mapped_files_and_other_floats_are_taken_as_they_are(tmp_path: Path):
    pairs = drawn(0, 10, 30, width=16)
    expected = as_lists(first_relevant_ranks(*pairs))
    np.save(tmp_path / "images.npy", pairs.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert as_lists(first_relevant_ranks(mapped, pairs.texts, pairs.owner, tile_size=4)) == expected
    wide = pairs.texts.astype(np.float64)
    small = pairs.owner.astype(np.int8)
    assert as_lists(first_relevant_ranks(pairs.images, wide, small, tile_size=4)) == expected
    backwards = np.ascontiguousarray(pairs.images[::-1])[::-1]
    assert as_lists(first_relevant_ranks(backwards, pairs.texts, pairs.owner)) == expected
    half = pairs._replace(texts=pairs.texts.astype(np.float16))
    assert as_lists(first_relevant_ranks(*half)) == by_hand(half)


def in_a_world(group: ProcessGroup, pairs: Pairs) -> tuple[list[int], list[int]]:
    world = World(group.rank(), group.size(), 0, group)
    return as_lists(first_relevant_ranks(*pairs, tile_size=4, world=world))


def test_several_processes_count_what_one_does():
    pairs = drawn(0, 10, 33, width=8)
    assert run_processes(in_a_world, 2, pairs) == [by_hand(pairs)] * 2


def test_progress_is_told_of_each_row_of_tiles():
    told: list[tuple[int, int]] = []
    pairs = drawn(0, 10, 3, width=4)
    first_relevant_ranks(
        *pairs, tile_size=4, progress=lambda done, total, what="": told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("images", "texts", "owner", "error", "message"),
    [
        ((2, 4), (3, 4), [0, 1, 2], DataError, r"owner: got 2, expected numbers in 0\.\.1"),
        ((2, 4), (3, 4), [0, -1, 1], DataError, r"owner: got -1, expected numbers in 0\.\.1"),
        ((2, 4), (3, 4), [0, 1], ShapeError, "owner: got 2 numbers, expected 3, one a text"),
        ((2, 4), (3, 5), [0, 1, 1], ShapeError, "texts: got width 5, expected 4"),
        ((0, 4), (3, 4), [0, 0, 0], DataError, "got 0 images and 3 texts, expected some of both"),
        ((2, 4), (0, 4), [], DataError, "got 2 images and 0 texts, expected some of both"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    images: tuple[int, int],
    texts: tuple[int, int],
    owner: list[int],
    error: type[Exception],
    message: str,
):
    unchecked = inspect.unwrap(first_relevant_ranks)  # the tests' check of shapes would come first
    with pytest.raises(error, match=message):
        unchecked(np.zeros(images, np.float32), np.zeros(texts, np.float32), np.array(owner, int))


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 12))
@some
def test_top_candidates_are_the_head_of_a_stable_sort(seed: int, tile: int, k: int):
    rng = np.random.default_rng(seed)
    queries = rng.integers(-1, 2, (4, 3)).astype(np.float32)
    candidates = rng.integers(-1, 2, (rng.integers(12, 30), 3)).astype(np.float32)
    scores = queries @ candidates.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    numbers, theirs = top_candidates(queries, candidates, k, tile_size=tile)
    assert numbers.tolist() == best.tolist()
    assert theirs.tolist() == np.take_along_axis(scores, best, 1).tolist()


def test_top_candidates_need_k_of_them():
    with pytest.raises(ShapeError, match="got 2, expected at least k=3"):
        top_candidates(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), 3)


@given(st.integers(1, 60), st.data())
@some
def test_chance_is_that_of_drawing_without_replacement(candidates: int, data: st.DataObject):
    relevant = data.draw(st.lists(st.integers(1, candidates), min_size=1, max_size=5))
    chance = random_rank_probabilities(candidates, np.array(relevant))
    assert len(chance) == candidates
    for k in range(1, candidates + 1):
        missed = sum(
            Fraction(math.comb(candidates - r, k), math.comb(candidates, k)) for r in relevant
        )
        assert chance[:k].sum() == pytest.approx(float(1 - missed / len(relevant)), abs=1e-12)


def captioned(images: int, captions: int, *, noise: float) -> tuple[np.ndarray, ...]:
    """Captions that lie around their images, in no order."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(images, 16)))
    owner = rng.permutation(np.repeat(np.arange(images), captions))
    return vectors, unit(vectors[owner] + noise * rng.normal(size=(len(owner), 16))), owner


def recall(scores: np.ndarray, relevant: np.ndarray, k: int) -> float:
    """Fraction of queries with a relevant candidate among the top k: 0 or 1 a query."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(relevant, best, axis=1).any(axis=1).mean())


@pytest.mark.parametrize("captions", [1, 5])
def test_both_ways_agree_with_top_k_of_the_full_matrix(captions: int):
    images, texts, owner = captioned(80, captions, noise=0.5)
    result = measure_retrieval(images, texts, owner)
    scores, relevant = images @ texts.T, np.arange(80)[:, None] == owner
    for k in (1, 5, 10):
        by_image, by_text = f"text_retrieval_recall@{k}", f"image_retrieval_recall@{k}"
        assert result.metrics[by_image] == recall(scores, relevant, k)
        assert result.metrics[by_text] == recall(scores.T, relevant.T, k)
        assert 0.1 < result.metrics[by_text] < 0.99
    assert (result.num_images, result.num_texts, result.num_uncaptioned) == (80, 80 * captions, 0)


def test_metrics_are_those_of_the_ranks():
    images, texts, owner = captioned(80, 5, noise=0.5)
    result = measure_retrieval(images, texts, owner)
    for way, ranks in (("text", result.image_ranks), ("image", result.text_ranks)):
        metrics = result.metrics
        assert metrics[f"{way}_retrieval_recall@5"] == pytest.approx((ranks < 5).mean())
        middle = np.percentile(ranks + 1, 50, method="inverted_cdf")
        assert metrics[f"{way}_retrieval_median_rank"] == middle
        reciprocal = metrics[f"{way}_retrieval_mean_reciprocal_rank"]
        assert reciprocal == pytest.approx((1 / (ranks + 1)).mean())


def test_guessing_reaches_chance():
    rng = np.random.default_rng(0)
    images, texts = unit(rng.normal(size=(1000, 64))), unit(rng.normal(size=(5000, 64)))
    result = measure_retrieval(images, texts, np.repeat(np.arange(1000), 5))
    assert result.metrics.keys() == result.chance.keys()
    assert result.chance["image_retrieval_recall@10"] == pytest.approx(10 / 1000)
    assert result.chance["text_retrieval_recall@1"] == pytest.approx(5 / 5000)
    assert result.chance["image_retrieval_median_rank"] == 500
    for way, near in (("image", 0.003), ("text", 0.008)):  # three standard deviations and more
        key = f"{way}_retrieval_recall@10"
        assert result.metrics[key] == pytest.approx(result.chance[key], abs=near)
        key = f"{way}_retrieval_median_rank"
        assert result.metrics[key] == pytest.approx(result.chance[key], rel=0.1)


def test_images_without_captions_look_for_none_but_are_candidates():
    eye = np.eye(4, dtype=np.float32)
    result = measure_retrieval(
        eye, unit(eye[[0, 3]] + [[0, 0, 0, 0], [0, 0, 2, 0]]), np.array([0, 3])
    )
    assert result.num_uncaptioned == 2
    assert result.image_ranks.tolist() == [0, 2, 2, 0]
    assert result.text_ranks.tolist() == [0, 1]  # the third image has no caption, but comes first
    assert result.metrics["text_retrieval_recall@1"] == 1.0
    assert result.metrics["image_retrieval_recall@1"] == 0.5
    assert result.chance["text_retrieval_recall@1"] == 0.5
    assert result.chance["image_retrieval_recall@1"] == 0.25


def test_recalls_that_cannot_be_missed_are_left_out():
    images, texts, owner = captioned(4, 2, noise=0.1)
    metrics = measure_retrieval(images, texts, owner).metrics
    assert [key for key in metrics if "recall" in key] == [
        "image_retrieval_recall@1",
        "text_retrieval_recall@1",
        "text_retrieval_recall@5",
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 2.0])
def test_embeddings_must_be_unit_vectors(bad: float):
    eye = np.eye(3, dtype=np.float32)
    other = eye.copy()
    other[1, 1] = bad
    said = rf"got length {bad:.4g} in row 1, expected unit vectors"
    with pytest.raises(DataError, match=f"images: {said}"):
        measure_retrieval(other, eye, np.arange(3))
    with pytest.raises(DataError, match=f"texts: {said}"):
        measure_retrieval(eye, other, np.arange(3))
