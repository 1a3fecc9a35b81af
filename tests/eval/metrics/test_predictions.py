"""The figures of a classification, and that resamples are measured as the whole is."""

import numpy as np
import pytest

from twinlens.eval.metrics import predictions
from twinlens.eval.metrics.predictions import make_predictions
from twinlens.eval.metrics.statistics import bootstrap


@pytest.mark.parametrize("classes", [2, 4, 7])
def test_a_resample_is_measured_as_those_samples_are(classes: int):
    rng = np.random.default_rng(classes)
    scores = rng.normal(size=(60, classes)).astype(np.float32)
    targets = rng.integers(classes, size=60)
    whole = make_predictions(scores, targets, scale=3.0)
    slow = bootstrap(
        lambda drawn: make_predictions(scores[drawn], targets[drawn], scale=3.0).metrics,
        60,
        num_resamples=1000,
    )
    fast = whole.replicates()
    assert fast.keys() == slow.keys() == whole.metrics.keys()
    for key in fast.keys() - {"mean_per_class_recall"}:
        np.testing.assert_allclose(fast[key], slow[key], atol=1e-6)


def test_the_mean_over_classes_of_one_sample_each_is_as_sure_as_the_accuracy():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 300)).astype(np.float32)
    scores[np.arange(300), np.arange(300)] += 2.5
    drawn = make_predictions(scores, np.arange(300)).replicates()
    np.testing.assert_allclose(drawn["mean_per_class_recall"], drawn["acc1"], atol=1e-12)
    # Of classes of ten, its spread is that of the binomial within them at least.
    targets = np.repeat(np.arange(5), 10)
    scores = rng.normal(size=(50, 5)).astype(np.float32)
    ten = make_predictions(scores, targets)
    recall = ten.metrics["mean_per_class_recall"]
    spread = ten.replicates()["mean_per_class_recall"].std()
    assert spread == pytest.approx((recall * (1 - recall) / 50) ** 0.5, rel=0.15)


def test_figures_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 6)).astype(np.float32)
    targets = rng.integers(5, size=200)  # the last class has no samples
    found = make_predictions(scores, targets).metrics
    assert found["acc1"] == metrics.accuracy_score(targets, scores.argmax(1))
    five = metrics.top_k_accuracy_score(targets, scores, k=5, labels=range(6))
    assert found["acc5"] == pytest.approx(five, abs=1e-6)
    recall = metrics.recall_score(targets, scores.argmax(1), labels=range(5), average="macro")
    assert found["mean_per_class_recall"] == pytest.approx(recall, abs=1e-6)
    two = make_predictions(scores[:, :2], targets % 2)
    area = metrics.roc_auc_score(targets % 2, scores[:, 1] - scores[:, 0])
    assert two.metrics["roc_auc"] == pytest.approx(area, abs=1e-6)
    assert two.chance == {"acc1": 0.5, "mean_per_class_recall": 0.5, "roc_auc": 0.5}


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    scores, targets = rng.normal(size=(9, 3)).astype(np.float32), rng.integers(3, size=9)
    monkeypatch.setattr(predictions, "_CHUNK_SIZE", 4)
    found = predictions.predict(scores, targets, lambda rows: rows, scale=2.0)
    expected = make_predictions(scores, targets, scale=2.0)
    for name in ("targets", "top_classes", "confidence", "margin"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.metrics == expected.metrics


def test_a_class_that_a_resample_lacks_makes_no_area():
    whole = make_predictions(np.array([[0, 1], [1, 0], [1, 0]], np.float32), np.array([1, 0, 0]))
    assert whole.metrics["roc_auc"] == 1.0
    areas = whole.replicates()["roc_auc"]
    assert np.isnan(areas).any()
    assert set(areas[~np.isnan(areas)]) == {1.0}
