"""Many tasks on many data sets in one pass."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinlens import Embedder
from twinlens.data.datasets import Dataset
from twinlens.data.splits import DatasetSplits
from twinlens.embed.feature_cache import FeatureCache
from twinlens.errors import DataError
from twinlens.eval.context import EvalContext
from twinlens.eval.results.result import ReferenceScore, TaskResult
from twinlens.eval.suite import EvalOptions, run_suite
from twinlens.eval.tasks.classification import ClassificationResult
from twinlens.eval.tasks.linear_probe import LinearProbeResult
from twinlens.eval.tasks.retrieval import RetrievalResult
from twinlens.eval.tasks.robustness import RobustnessResult
from twinlens.eval.tasks.scores import CaptionScoreResult


def captioned(dataset: Dataset, captions: int) -> Dataset:
    samples = [
        replace(sample, captions=tuple(f"{sample.label} {sample.key} {i}" for i in range(captions)))
        for sample in dataset.samples
    ]
    return replace(dataset, samples=samples)


@pytest.fixture
def parts(dataset: Dataset) -> DatasetSplits:
    whole = captioned(dataset, 2)
    return DatasetSplits(name="noise", test=whole, train=lambda: replace(whole, name="noise train"))


def measured(features: EvalContext, parts: DatasetSplits, **asked: object) -> list[TaskResult]:
    return [result for result, _ in run_suite(features, [parts], EvalOptions(**asked))]  # pyright: ignore[reportArgumentType]


def test_every_task_answers_in_its_own_shape(lens: Embedder, parts: DatasetSplits):
    tasks = ("zero-shot", "retrieval", "linear-probe", "robustness", "scores")
    results = measured(
        EvalContext(lens), parts, tasks=tasks, corruptions=("contrast",), shots=(1, 2), num_seeds=2
    )
    shapes = [
        ClassificationResult,
        RetrievalResult,
        LinearProbeResult,
        RobustnessResult,
        CaptionScoreResult,
    ]
    assert [type(one) for one in results] == shapes
    for one in results:
        answer = json.loads(json.dumps(one.to_dict(model="tiny", pretrained="by hand")))
        assert answer["dataset"] == "noise"
        assert answer["metrics"] == one.metrics
        assert set(one.intervals) <= set(one.metrics)
        for key, (low, high) in one.intervals.items():
            assert low <= one.metrics[key] <= high or "median" in key, key
        assert all(len(drawn) == 1000 for drawn in one.evidence.replicates.values())


def test_a_probe_that_saw_the_images_knows_them(lens: Embedder, parts: DatasetSplits):
    [probe] = measured(EvalContext(lens), parts, tasks=("linear-probe",))
    assert isinstance(probe, LinearProbeResult)
    assert probe.metrics["acc1"] == 1.0
    assert (probe.num_train, probe.num_validation, probe.num_classes) == (12, 4, 4)
    assert probe.l2_penalty in probe.validation_accuracies


def test_a_probe_is_the_reference_of_the_same_evaluation(lens: Embedder, parts: DatasetSplits):
    given = {"noise": (ReferenceScore(metric="acc1", value=0.5, model="mine", source="results"),)}
    zero_shot, probe = measured(
        EvalContext(lens), parts, tasks=("zero-shot", "linear-probe"), references=given
    )
    values = {(one.metric, one.model): one.value for one in zero_shot.references}
    assert values[("acc1", "mine")] == 0.5
    assert values[("acc1", "linear probe on this model's features")] == probe.metrics["acc1"]
    assert [one.model for one in probe.references] == ["mine"]


def test_robustness_without_a_change_is_the_accuracy(lens: Embedder, parts: DatasetSplits):
    same = replace(parts.test, name="same")
    few = [one for one in parts.test.samples if one.label in ("red", "blue")]
    fewer = replace(parts.test, name="fewer", samples=few, classnames=("blue", "red"))
    zero_shot, robust = measured(
        EvalContext(lens),
        parts,
        tasks=("zero-shot", "robustness"),
        shifted=(same, fewer),
        baselines={"same": [(0.5, 0.4), (0.6, 0.5)], "elsewhere": [(0.5, 0.5), (0.7, 0.6)]},
    )
    assert isinstance(robust, RobustnessResult)
    accuracy = zero_shot.metrics["acc1"]
    assert robust.metrics["acc1"] == robust.metrics["acc1@same"] == accuracy
    assert robust.metrics["standard_acc1@same"] == accuracy
    assert robust.metrics["acc1@fewer"] == robust.metrics["standard_acc1@fewer"]
    assert robust.chance["acc1@fewer"] == 0.5
    assert "effective_robustness@same" in robust.metrics
    low, high = robust.intervals["effective_robustness@same"]
    assert low <= robust.metrics["effective_robustness@same"] <= high
    assert "effective_robustness@fewer" not in robust.metrics
    assert robust.notes == (
        "the baseline is also of elsewhere, not measured here",
        "no effective robustness on fewer: the baseline has no accuracy there",
    )
    assert "corrupted_acc1" not in robust.metrics


def test_corruptions_are_averaged(lens: Embedder, parts: DatasetSplits):
    [robust] = measured(
        EvalContext(lens), parts, tasks=("robustness",), corruptions=("contrast", "jpeg")
    )
    assert isinstance(robust, RobustnessResult)
    found = [accuracy for row in robust.corruptions.values() for accuracy in row]
    assert len(found) == 10
    assert robust.metrics["corrupted_acc1"] == pytest.approx(np.mean(found))


def test_retrieval_is_that_of_a_full_matrix(lens: Embedder, parts: DatasetSplits):
    [found] = measured(EvalContext(lens), parts, tasks=("retrieval",))
    assert isinstance(found, RetrievalResult)
    samples = parts.test.samples
    captions = [caption for sample in samples for caption in sample.captions]
    owner = np.repeat(np.arange(12), 2)
    scores = lens.embed_images([s.image_bytes() for s in samples]) @ lens.embed_texts(captions).T
    own = owner[None] == np.arange(12)[:, None]
    best = np.where(own, scores, -2).max(axis=1)
    to_text = ((scores >= best[:, None] - 1e-6) & ~own).sum(axis=1)
    theirs = scores[owner, np.arange(24)]
    to_image = ((scores >= theirs - 1e-6) & ~own).sum(axis=0)
    for k in (1, 5, 10):
        assert found.metrics[f"text_retrieval_recall@{k}"] == pytest.approx((to_text < k).mean())
        assert found.metrics[f"image_retrieval_recall@{k}"] == pytest.approx((to_image < k).mean())
    assert found.num_texts == 24
    assert {len(one.candidates) for one in found.examples} == {5}


def test_scores_are_of_the_first_caption(lens: Embedder, parts: DatasetSplits):
    [found] = measured(EvalContext(lens), parts, tasks=("scores",))
    assert isinstance(found, CaptionScoreResult)
    samples = parts.test.samples
    images = lens.embed_images([sample.image_bytes() for sample in samples])
    texts = lens.embed_texts([f"A photo depicts {sample.captions[0]}" for sample in samples])
    expected = 2.5 * np.maximum((images * texts).sum(axis=1), 0)
    assert found.metrics["clip_score"] == pytest.approx(expected.mean(), abs=1e-6)
    assert found.pairs[0].score == pytest.approx(expected.min(), abs=1e-6)
    assert samples[found.pairs[0].index].key == found.pairs[0].key
    assert "ref_clip_score" in found.metrics


def test_images_without_captions_or_references_are_said(lens: Embedder, parts: DatasetSplits):
    samples = list(parts.test.samples)
    samples[0] = replace(samples[0], captions=())
    samples[1] = replace(samples[1], captions=("one",))
    uneven = DatasetSplits(name="noise", test=replace(parts.test, samples=samples))
    scores, retrieval = measured(EvalContext(lens), uneven, tasks=("scores", "retrieval"))
    assert scores.notes == (
        "no RefCLIPScore: 1 images have one caption only",
        "left out: 1 images without a caption",
    )
    assert isinstance(retrieval, RetrievalResult)
    assert retrieval.num_uncaptioned == 1
    assert retrieval.notes == ("1 images have no caption: none looks for them",)


def test_everything_is_computed_once_for_all_time(
    lens: Embedder, parts: DatasetSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = {
        "tasks": ("zero-shot", "retrieval", "linear-probe", "robustness", "scores"),
        "corruptions": ("contrast",),
    }
    first = measured(EvalContext(lens, FeatureCache(tmp_path, lens)), parts, **asked)
    for name in ("probe_features", "embed_texts", "zero_shot_classifier"):
        monkeypatch.setattr(lens, name, None)  # not called again
    store = FeatureCache(tmp_path, lens)
    again = measured(EvalContext(lens, store), parts, **asked)
    assert store.num_computed == 0
    assert [one.metrics for one in again] == [one.metrics for one in first]


def test_the_bar_counts_all_images_of_all_tasks(lens: Embedder, parts: DatasetSplits):
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int, what: str = "") -> None:
        told.append((done, total))

    features = EvalContext(lens, progress=tell)
    measured(features, parts, tasks=("zero-shot", "robustness"), corruptions=("contrast",))
    assert told[0] == (12, 72)
    assert told[-1] == (72, 72)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("linear-probe", "noise: got no training images, expected a split `train`, or --train"),
        ("retrieval", "noise: got no captions, expected images with one each"),
        ("scores", "noise: got no captions, expected images with one each"),
    ],
)
def test_what_a_task_needs_and_the_data_lack(
    lens: Embedder, dataset: Dataset, task: str, message: str
):
    with pytest.raises(DataError, match=message):
        measured(EvalContext(lens), DatasetSplits(name="noise", test=dataset), tasks=(task,))


def test_a_class_without_training_images_is_named(lens: Embedder, parts: DatasetSplits):
    samples = [one for one in parts.test.samples if one.label != "red"]
    train = replace(parts.test, name="train", samples=samples)
    lacking = DatasetSplits(name="noise", test=parts.test, train=lambda: train)
    with pytest.raises(DataError, match="train: got 0 images of 'red', expected at least 1"):
        measured(EvalContext(lens), lacking, tasks=("linear-probe",))
    with pytest.raises(DataError, match="got 3 images of 'blue', expected at least 4"):
        measured(EvalContext(lens), parts, tasks=("linear-probe",), shots=(4,))


def test_classes_of_a_shifted_set_must_be_known(lens: Embedder, parts: DatasetSplits):
    other = replace(parts.test, name="other", classnames=("red", "pink"))
    with pytest.raises(DataError, match="other: got 'pink', expected classes of noise"):
        measured(EvalContext(lens), parts, tasks=("robustness",), shifted=(other,))


def test_several_labels_are_ranked(lens: Embedder, dataset: Dataset):
    samples = [
        replace(sample, label=None, labels=(str(sample.label), "image")[: 1 + i % 2])
        for i, sample in enumerate(dataset.samples)
    ]
    names = (*dataset.classnames, "image")
    many = replace(dataset, samples=samples, classnames=names, multi_label=True)
    [found] = measured(EvalContext(lens), DatasetSplits(name="noise", test=many))
    scores = lens.embed_images([s.image_bytes() for s in samples])
    scores = scores @ lens.zero_shot_classifier(names)
    sklearn = pytest.importorskip("sklearn.metrics")
    has = np.array([[name in one.labels for name in names] for one in samples])
    expected = sklearn.average_precision_score(has, scores, average="macro")
    assert found.metrics["mean_average_precision"] == pytest.approx(expected, abs=1e-6)
    assert found.metrics["roc_auc"] == pytest.approx(
        sklearn.roc_auc_score(has, scores, average="macro"), abs=1e-6
    )
    with pytest.raises(DataError, match="noise: got images with several labels, expected one"):
        measured(EvalContext(lens), DatasetSplits(name="noise", test=many), tasks=("robustness",))
