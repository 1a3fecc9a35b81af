"""Recall at k, by hand and on a data set, and retrieval both ways."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twinlens import Embedder
from twinlens.data.datasets import Dataset
from twinlens.errors import DataError, ShapeError
from twinlens.eval.tasks.retrieval_ranking import examples, measure, name_retrieval, recall_at_k


def test_recall_is_zero_or_one_a_query():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
    relevant = torch.tensor([[True, True, False], [True, False, False]])
    assert recall_at_k(scores, relevant, k=1) == 0.5  # not 0.25: one of two relevant is enough
    assert recall_at_k(scores, relevant, k=3) == 1.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_recall_counts_queries_whose_best_relevant_rank_is_within_k(seed: int, k: int):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(6, 8, generator=generator)
    relevant = torch.rand(6, 8, generator=generator) < 0.3
    best = scores.masked_fill(~relevant, -1).max(dim=1).values
    ranks = (scores > best[:, None]).sum(dim=1)
    expected = ((ranks < k) & relevant.any(dim=1)).float().mean().item()
    assert recall_at_k(scores, relevant, k=k) == pytest.approx(expected)


def test_recall_needs_k_candidates_and_one_shape():
    with pytest.raises(ShapeError, match="got 2, expected at least k=3"):
        recall_at_k(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), k=3)
    unchecked = inspect.unwrap(recall_at_k)  # the tests' own check of shapes would come first
    with pytest.raises(ShapeError, match=r"relevant: got \[2, 1\], expected \[1, 2\]"):
        unchecked(torch.zeros(1, 2), torch.zeros(2, 1, dtype=torch.bool), k=1)


def test_name_retrieval_agrees_with_classify(lens: Embedder, dataset: Dataset):
    images = [sample.image_bytes() for sample in dataset.samples]
    ranked = lens.classify(images, dataset.classnames, templates=["{}"])
    answer = name_retrieval(lens, dataset, ks=(1, 2))
    for k in (1, 2):
        found = [
            sample.label in [one.label for one in best[:k]]
            for sample, best in zip(dataset.samples, ranked, strict=True)
        ]
        key = f"text_retrieval_recall@{k}"
        assert answer.metrics[key] == pytest.approx(sum(found) / len(found))
        assert answer.chance[key] == k / 4
        low, high = answer.intervals[key]
        assert low <= answer.metrics[key] <= high


def test_names_are_drawn_by_the_seed(lens: Embedder, dataset: Dataset):
    drawn = [name_retrieval(lens, dataset, names=2, ks=(1,), seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert [one.names for one in drawn] == [2, 2, 2]
    assert [one.samples for one in drawn] == [6, 6, 6]


def test_a_shared_name_is_the_right_answer_for_both(lens: Embedder, dataset: Dataset):
    for sample in dataset.samples:
        sample.metadata["names"] = {"xx": "same"}
    answer = name_retrieval(lens, dataset, language="xx", ks=(1,))
    assert answer.metrics["text_retrieval_recall@1"] == 1.0
    assert answer.names == 1


def test_too_few_names_are_an_error(lens: Embedder, dataset: Dataset):
    with pytest.raises(DataError, match="noise: got 4 names, expected at least 10"):
        name_retrieval(lens, dataset)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def captioned(images: int, captions: int, *, noise: float) -> tuple[np.ndarray, ...]:
    """Captions that lie around their images, in no order."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(images, 16)))
    owner = rng.permutation(np.repeat(np.arange(images), captions))
    return vectors, unit(vectors[owner] + noise * rng.normal(size=(len(owner), 16))), owner


@pytest.mark.parametrize("captions", [1, 5])
def test_both_ways_agree_with_top_k_of_the_full_matrix(captions: int):
    images, texts, owner = captioned(80, captions, noise=0.5)
    result = measure(images, texts, owner)
    scores = torch.as_tensor(images @ texts.T)
    relevant = torch.as_tensor(np.arange(80)[:, None] == owner)
    for k in (1, 5, 10):
        by_image, by_text = f"text_retrieval_recall@{k}", f"image_retrieval_recall@{k}"
        assert result.metrics[by_image] == pytest.approx(recall_at_k(scores, relevant, k=k))
        assert result.metrics[by_text] == pytest.approx(recall_at_k(scores.T, relevant.T, k=k))
        assert 0.1 < result.metrics[by_text] < 0.99
    assert (result.samples, result.texts, result.uncaptioned) == (80, 80 * captions, 0)


def test_metrics_are_those_of_the_ranks():
    images, texts, owner = captioned(80, 5, noise=0.5)
    result = measure(images, texts, owner)
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
    result = measure(images, texts, np.repeat(np.arange(1000), 5))
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
    result = measure(eye, unit(eye[[0, 3]] + [[0, 0, 0, 0], [0, 0, 2, 0]]), np.array([0, 3]))
    assert result.uncaptioned == 2
    assert result.image_ranks.tolist() == [0, 2, 2, 0]
    assert result.text_ranks.tolist() == [0, 1]  # the third image has no caption, but comes first
    assert result.metrics["text_retrieval_recall@1"] == 1.0
    assert result.metrics["image_retrieval_recall@1"] == 0.5
    assert result.chance["text_retrieval_recall@1"] == 0.5
    assert result.chance["image_retrieval_recall@1"] == 0.25


def test_recalls_that_cannot_be_missed_are_left_out():
    images, texts, owner = captioned(4, 2, noise=0.1)
    metrics = measure(images, texts, owner).metrics
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
        measure(other, eye, np.arange(3))
    with pytest.raises(DataError, match=f"texts: {said}"):
        measure(eye, other, np.arange(3))


def test_examples_are_the_best_and_the_worst_with_their_candidates():
    images, texts, owner = captioned(80, 5, noise=0.5)
    result = measure(images, texts, owner)
    best, worst = examples(texts, images, result.text_ranks)
    ranks = sorted(result.text_ranks.tolist())
    assert [one.rank for one in best] == ranks[:4]
    assert [one.rank for one in worst] == ranks[:-5:-1]
    for one in best + worst:
        assert one.rank == result.text_ranks[one.query]
        scores = images @ texts[one.query]
        assert list(one.candidates) == np.argsort(-scores)[:5].tolist()
        assert one.scores == pytest.approx(np.sort(scores)[:-6:-1])
    assert best[0].candidates[0] == owner[best[0].query]


def test_few_queries_are_shown_once_and_those_without_an_answer_not_at_all():
    eye = np.eye(3, dtype=np.float32)
    best, worst = examples(eye, eye, np.array([0, 3, 1]), few=1)
    assert [one.query for one in best + worst] == [0, 2]
    assert [len(one.candidates) for one in best + worst] == [3, 3]
    assert examples(eye, eye, np.array([0, 3, 1]), few=2)[1] == []
