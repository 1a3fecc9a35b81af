"""Recall at k, by hand and on a data set."""

import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twinlens import Embedder
from twinlens.data.datasets import Dataset
from twinlens.errors import DataError, ShapeError
from twinlens.eval.retrieval import name_retrieval, recall_at_k


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
    pictures = [sample.image_bytes() for sample in dataset.samples]
    ranked = lens.classify(pictures, dataset.classnames, templates=["{}"])
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
