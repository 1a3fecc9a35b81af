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
    EQUAL,
    Ranks,
    chance_of_ranks,
    first_relevant_ranks,
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
    return sum(score >= best - EQUAL for score in scores[~right])


def as_lists(ranks: Ranks) -> tuple[list[int], list[int]]:
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
    assert as_lists(first_relevant_ranks(*pairs, tile=tile)) == by_hand(pairs)


@sizes
@some
def test_duplicates_tie_wherever_they_are(seed: int, images: int, texts: int, tile: int):
    # The last bits of a product depend on its shape and on the place in it: here they must not.
    pairs = alike(seed, images, texts, width=seed % 600 + 20)
    assert as_lists(first_relevant_ranks(*pairs, tile=tile)) == by_hand(pairs)


@sizes
@some
def test_the_order_of_the_data_does_not_matter(seed: int, images: int, texts: int, tile: int):
    pairs = alike(seed, images, texts, width=20)
    rng = np.random.default_rng(seed)
    by, to = rng.permutation(images), rng.permutation(texts)
    shuffled = Pairs(pairs.images[by], pairs.texts[to], np.argsort(by)[pairs.owner[to]])
    before, after = first_relevant_ranks(*pairs), first_relevant_ranks(*shuffled, tile=tile)
    assert as_lists(after) == (before.images[by].tolist(), before.texts[to].tolist())


def test_five_captions_a_image_in_tiles_that_do_not_fit():
    pairs = drawn(0, 301, 5 * 301, width=64)
    pairs = pairs._replace(owner=np.repeat(np.arange(301), 5))
    assert as_lists(first_relevant_ranks(*pairs, tile=128)) == by_hand(pairs)


def test_a_model_to_which_all_is_the_same_is_always_wrong():
    same = np.full((50, 512), 512**-0.5, np.float32)
    ranks = first_relevant_ranks(same[:10], same, np.repeat(np.arange(10), 5), tile=7)
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
    assert as_lists(first_relevant_ranks(mapped, pairs.texts, pairs.owner, tile=4)) == expected
    wide = pairs.texts.astype(np.float64)
    small = pairs.owner.astype(np.int8)
    assert as_lists(first_relevant_ranks(pairs.images, wide, small, tile=4)) == expected
    backwards = np.ascontiguousarray(pairs.images[::-1])[::-1]
    assert as_lists(first_relevant_ranks(backwards, pairs.texts, pairs.owner)) == expected
    half = pairs._replace(texts=pairs.texts.astype(np.float16))
    assert as_lists(first_relevant_ranks(*half)) == by_hand(half)


def in_a_world(group: ProcessGroup, pairs: Pairs) -> tuple[list[int], list[int]]:
    world = World(group.rank(), group.size(), 0, group)
    return as_lists(first_relevant_ranks(*pairs, tile=4, world=world))


def test_several_processes_count_what_one_does():
    pairs = drawn(0, 10, 33, width=8)
    assert run_processes(in_a_world, 2, pairs) == [by_hand(pairs)] * 2


def test_progress_is_told_of_each_row_of_tiles():
    told: list[tuple[int, int]] = []
    pairs = drawn(0, 10, 3, width=4)
    first_relevant_ranks(
        *pairs, tile=4, progress=lambda done, total, _="": told.append((done, total))
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
    numbers, theirs = top_candidates(queries, candidates, k, tile=tile)
    assert numbers.tolist() == best.tolist()
    assert theirs.tolist() == np.take_along_axis(scores, best, 1).tolist()


def test_top_candidates_need_k_of_them():
    with pytest.raises(ShapeError, match="got 2, expected at least k=3"):
        top_candidates(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), 3)


@given(st.integers(1, 60), st.data())
@some
def test_chance_is_that_of_drawing_without_replacement(candidates: int, data: st.DataObject):
    relevant = data.draw(st.lists(st.integers(1, candidates), min_size=1, max_size=5))
    chance = chance_of_ranks(candidates, np.array(relevant))
    assert len(chance) == candidates
    for k in range(1, candidates + 1):
        missed = sum(
            Fraction(math.comb(candidates - r, k), math.comb(candidates, k)) for r in relevant
        )
        assert chance[:k].sum() == pytest.approx(float(1 - missed / len(relevant)), abs=1e-12)
