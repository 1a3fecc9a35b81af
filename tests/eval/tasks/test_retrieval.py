"""Examples of retrieval: queries with the best and the worst ranks."""

from pathlib import Path

import numpy as np

from twinlens.data.samples import Sample
from twinlens.embed.dataset import EmbeddedDataset
from twinlens.eval.metrics.retrieval_ranks import RetrievalMetrics, measure_retrieval
from twinlens.eval.tasks.retrieval import RetrievalExample, build_examples


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embedded(images: np.ndarray) -> EmbeddedDataset:
    """Images that stand at every second index of their data set."""
    return EmbeddedDataset(
        samples=[Sample(key=str(i), source=Path(f"{i}.png")) for i in range(len(images))],
        indices=2 * np.arange(len(images)),
        features=images,
        embeddings=images,
        unreadable={},
    )


def shown(
    images: np.ndarray,
    texts: np.ndarray,
    owner: np.ndarray,
    result: RetrievalMetrics,
    count: int = 4,
) -> list[RetrievalExample]:
    captions = [f"text {number}" for number in range(len(texts))]
    return build_examples(embedded(images), captions, texts, owner, result, num_examples=count)


def test_examples_are_the_best_and_the_worst_with_their_candidates():
    rng = np.random.default_rng(0)
    images = unit(rng.normal(size=(80, 16)))
    owner = rng.permutation(np.repeat(np.arange(80), 5))
    texts = unit(images[owner] + 0.5 * rng.normal(size=(400, 16)))
    result = measure_retrieval(images, texts, owner)
    examples = shown(images, texts, owner, result)
    assert [one.text is not None for one in examples] == 8 * [True] + 8 * [False]
    for part, ranks in ((examples[:8], result.text_ranks), (examples[8:], result.image_ranks)):
        ordered = sorted((ranks + 1).tolist())
        assert [one.rank for one in part] == ordered[:4] + ordered[:-5:-1]
    for one in examples[:8]:
        query = int(str(one.text).removeprefix("text "))
        scores = images @ texts[query]
        best = np.argsort(-scores)[:5]
        assert [found.index for found in one.candidates] == (2 * best).tolist()
        assert [found.is_relevant for found in one.candidates] == (best == owner[query]).tolist()
        found = [candidate.score for candidate in one.candidates]
        np.testing.assert_allclose(found, scores[best], atol=1e-6)
    for one in examples[8:]:
        assert one.index is not None
        best = np.argsort(-(texts @ images[one.index // 2]))[:5]
        assert [found.text for found in one.candidates] == [f"text {i}" for i in best]
        relevant = [found.is_relevant for found in one.candidates]
        assert relevant == (owner[best] == one.index // 2).tolist()


def test_few_queries_are_shown_once_and_those_without_an_answer_not_at_all():
    eye = np.eye(3, dtype=np.float32)
    result = measure_retrieval(eye, eye[[0, 1]], np.array([0, 1]))
    examples = shown(eye, eye[[0, 1]], np.array([0, 1]), result, count=2)
    assert [one.text for one in examples] == ["text 0", "text 1", None, None]
    assert [one.index for one in examples] == [None, None, 0, 2]  # the third has no caption
    assert [len(one.candidates) for one in examples] == [3, 3, 2, 2]
