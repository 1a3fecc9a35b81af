"""Scores of captions by hand, by brute force and by another library's formula."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twinlens.errors import DataError, ShapeError
from twinlens.eval.metrics.clip_score import CLIPSCORE_PROMPT, clip_score, ref_clip_score

SEEDS = st.integers(0, 2**32 - 1)
X, Y = [1.0, 0.0], [0.0, 1.0]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def test_clip_score_by_hand():
    images = np.array([X, X, X, X], np.float32)
    captions = np.array([X, [0.8, 0.6], Y, [-1.0, 0.1]], np.float32)
    assert clip_score(images, captions) == pytest.approx([2.5, 2.0, 0.0, 0.0])


@given(SEEDS)
def test_clip_score_needs_no_unit_vectors_and_is_symmetric(seed: int):
    images, captions = np.random.default_rng(seed).normal(size=(2, 6, 5))
    expected = [2.5 * max(cosine(i, c), 0) for i, c in zip(images, captions, strict=True)]
    assert clip_score(images, captions) == pytest.approx(expected)
    assert clip_score(captions, 7 * images) == pytest.approx(expected)


def test_torchmetrics_says_forty_times_as_much():
    # Its CLIPScore: 100 cos a pair, averaged, and what is below 0 raised to it.
    generator = torch.Generator().manual_seed(0)
    images, captions = torch.rand(2, 9, 16, generator=generator).unbind()
    pairs = 100 * torch.nn.functional.cosine_similarity(images, captions)
    theirs = pairs.mean().clamp(min=0).item()
    assert 40 * clip_score(images.numpy(), captions.numpy()).mean() == pytest.approx(theirs)


@given(SEEDS)
def test_ref_clip_score_by_brute_force(seed: int):
    rng = np.random.default_rng(seed)
    images, captions = rng.normal(size=(2, 5, 4))
    owner = rng.permutation(np.concatenate([np.arange(5), rng.integers(0, 5, 7)]))
    references = rng.normal(size=(12, 4))
    expected: list[float] = []
    for number in range(5):
        seen = 2.5 * max(cosine(images[number], captions[number]), 0)
        own = references[owner == number]
        written = max(0, *(cosine(captions[number], one) for one in own))
        expected.append(2 / (1 / seen + 1 / written) if seen and written else 0)
    measured = ref_clip_score(images, captions, references, owner)
    assert measured == pytest.approx(expected, abs=1e-12)


def test_ref_clip_score_by_hand():
    images, captions = np.array([X, X, Y]), np.array([X, X, X])
    references = np.array([X, Y, [0.6, 0.8], X])
    owner = np.array([2, 1, 0, 0])
    # The first has the caption's own words; the second's are others; the third is not of it.
    measured = ref_clip_score(images, captions, references, owner)
    assert measured == pytest.approx([2 * 2.5 / 3.5, 0, 0])


def test_the_prompt_takes_a_caption():
    assert CLIPSCORE_PROMPT.format("a dog") == "A photo depicts a dog"


def test_no_pairs_have_no_scores():
    none = np.empty((0, 4))
    assert clip_score(none, none).shape == (0,)
    assert ref_clip_score(none, none, none, np.empty(0, np.int64)).shape == (0,)


def test_refusals():
    pair = np.array([X, Y])
    clip, ref = inspect.unwrap(clip_score), inspect.unwrap(ref_clip_score)
    with pytest.raises(ShapeError, match=r"caption embeddings: got \[1, 2\], expected \[2, 2\]"):
        clip(pair, pair[:1])
    with pytest.raises(DataError, match=r"image embeddings: got length 0\.0 in row 1"):
        clip(np.array([X, [0.0, 0.0]]), pair)
    with pytest.raises(DataError, match="caption embeddings: got length nan in row 0"):
        clip(pair, np.array([[np.nan, 0.0], Y]))
    with pytest.raises(ShapeError, match=r"got \[1, 3\], expected \['reference', 2\]"):
        ref(pair, pair, np.ones((1, 3)), np.array([0]))
    with pytest.raises(ShapeError, match=r"owner: got \[1\], expected \[2\]"):
        ref(pair, pair, pair, np.array([0]))
    with pytest.raises(DataError, match="owner: got -1 to 0, expected 0 to 1"):
        ref(pair, pair, pair, np.array([0, -1]))
    with pytest.raises(DataError, match="references of image 1: got 0, expected at least 1"):
        ref(pair, pair, pair, np.array([0, 0]))
