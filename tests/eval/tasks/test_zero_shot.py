"""Zero-shot measurements against answers found image by image."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinlens import Embedder
from twinlens.data.datasets import Dataset, Sample
from twinlens.errors import DataError
from twinlens.eval.context import EvalContext
from twinlens.eval.metrics.statistics import wilson_interval
from twinlens.eval.tasks.zero_shot import build_zero_shot_classifier, evaluate_zero_shot


def relabelled(dataset: Dataset, labels: list[str | None]) -> Dataset:
    samples = [
        replace(sample, label=label) for sample, label in zip(dataset.samples, labels, strict=True)
    ]
    return replace(dataset, samples=samples)


def answers(lens: Embedder, dataset: Dataset) -> list[str]:
    images = [sample.image_bytes() for sample in dataset.samples]
    return [best[0].label for best in lens.classify(images, dataset.classnames)]


def test_accuracy_is_that_of_classify(lens: Embedder, dataset: Dataset):
    answered = answers(lens, dataset)
    right = sum(
        answer == sample.label for answer, sample in zip(answered, dataset.samples, strict=True)
    )
    result = evaluate_zero_shot(EvalContext(lens), dataset)
    assert result.metrics["acc1"] == right / len(answered)
    low, high = result.intervals["acc1"]
    assert low <= right / 12 <= high
    assert 0 < high - low < 0.7
    assert result.chance == {"acc1": 0.25, "mean_per_class_recall": 0.25}
    assert (result.num_samples, result.num_classes) == (12, 4)


def test_images_that_are_what_the_model_says_give_full_marks(lens: Embedder, dataset: Dataset):
    agreed = relabelled(dataset, list(answers(lens, dataset)))
    result = evaluate_zero_shot(EvalContext(lens), agreed)
    assert result.metrics["acc1"] == result.metrics["mean_per_class_recall"] == 1.0
    assert result.intervals["acc1"] == wilson_interval(1.0, 12)  # resamples would say nothing
    assert {one.mistaken_for for one in result.per_class} == {None}


def test_classes_come_worst_first_with_what_they_were_taken_for(lens: Embedder, dataset: Dataset):
    answered = answers(lens, dataset)
    other = next(name for name in dataset.classnames if name != answered[0])
    labels: list[str | None] = [other, *answered[1:]]
    worst = evaluate_zero_shot(EvalContext(lens), relabelled(dataset, labels)).per_class[0]
    assert worst.classname == other
    assert worst.mistaken_for == answered[0]
    assert worst.recall == 1 - 1 / labels.count(other)


def test_top_five_needs_five_classes(lens: Embedder, dataset: Dataset):
    wide = replace(dataset, classnames=(*dataset.classnames, "cat", "dog"))
    result = evaluate_zero_shot(EvalContext(lens), wide)
    assert result.metrics["acc5"] >= result.metrics["acc1"]
    assert result.chance["acc5"] == 5 / 6
    assert "acc5" not in evaluate_zero_shot(EvalContext(lens), dataset).metrics


def test_images_without_a_label_are_left_out(lens: Embedder, dataset: Dataset):
    labels = [None if i < 2 else sample.label for i, sample in enumerate(dataset.samples)]
    assert evaluate_zero_shot(EvalContext(lens), relabelled(dataset, labels)).num_samples == 10


def test_another_language_asks_by_its_names(lens: Embedder, dataset: Dataset):
    result = evaluate_zero_shot(EvalContext(lens), dataset, language="de", templates=["{}"])
    assert {one.classname for one in result.per_class} == {"blau", "grün", "rot"}
    assert (result.num_samples, result.num_classes, result.num_unnamed_classes) == (9, 3, 1)


@pytest.mark.parametrize("language", ["en", "de"])
def test_images_embedded_once_serve_every_language(
    lens: Embedder, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, language: str
):
    alone = evaluate_zero_shot(EvalContext(lens), dataset, language=language)
    context = EvalContext(lens)
    context.embed_dataset(dataset)
    monkeypatch.setattr(lens, "probe_features", None)  # not called again
    assert evaluate_zero_shot(context, dataset, language=language) == alone


def test_classes_of_one_name_are_counted(lens: Embedder, dataset: Dataset):
    for sample in dataset.samples:
        if sample.label == "blue":
            sample.metadata["names"] = {"de": "rot"}
    result = evaluate_zero_shot(EvalContext(lens), dataset, language="de")
    assert result.shared_names == {"rot": ("blue", "red")}


def test_a_few_unreadable_images_are_listed(lens: Embedder, dataset: Dataset, tmp_path: Path):
    broken = broken_sample(tmp_path)
    many = replace(dataset, samples=[*dataset.samples * 10, broken])
    result = evaluate_zero_shot(EvalContext(lens), many)
    assert list(result.unreadable) == ["broken"]
    assert "broken.png" in result.unreadable["broken"]
    assert result.num_samples == 120


def test_many_unreadable_images_are_an_error(lens: Embedder, dataset: Dataset, tmp_path: Path):
    few = replace(dataset, samples=[*dataset.samples, broken_sample(tmp_path)])
    with pytest.raises(DataError, match="1 of 13 images cannot be read, expected at most 1%"):
        evaluate_zero_shot(EvalContext(lens), few)


def broken_sample(folder: Path) -> Sample:
    path = folder / "broken.png"
    path.write_bytes(b"not an image")
    return Sample(key="broken", source=path, captions=(), label="red", concept=None, metadata={})


def test_no_labelled_image_is_an_error(lens: Embedder, dataset: Dataset):
    with pytest.raises(DataError, match="noise: got no labelled images"):
        evaluate_zero_shot(EvalContext(lens), relabelled(dataset, [None] * len(dataset.samples)))


def test_json_has_the_shape_of_clip_benchmark(lens: Embedder, dataset: Dataset):
    result = evaluate_zero_shot(EvalContext(lens), dataset, templates=["a {}", "the {}"])
    answer = json.loads(json.dumps(result.to_dict(model="tiny", pretrained="by hand")))
    assert list(answer)[:6] == ["dataset", "model", "pretrained", "task", "metrics", "language"]
    assert answer["task"] == "zeroshot_classification"
    assert (answer["model"], answer["pretrained"]) == ("tiny", "by hand")
    assert answer["metrics"] == result.metrics
    assert answer["templates"] == ["a {}", "the {}"]
    assert len(answer["per_class"]) == 4
    low, high = answer["intervals"]["acc1"]
    assert low <= answer["metrics"]["acc1"] <= high


def test_classes_of_one_name_are_told_apart_and_the_first_gets_the_answers(
    lens: Embedder, dataset: Dataset
):
    """What the second shows is right once the two are one class."""
    first, second, *others = dataset.classnames
    spoken = {second: first}
    two = evaluate_zero_shot(EvalContext(lens), replace(dataset, spoken=spoken), templates=["{}"])
    assert two.shared_names == {first: (first, second)}
    assert two.details()["shared_names"] == {first: [first, second]}
    recall = {one.classname: one.recall for one in two.per_class}
    assert recall.keys() == {first, f"{first} ({second})", *others}
    assert recall[f"{first} ({second})"] == 0
    merged = relabelled(dataset, [first if s.label == second else s.label for s in dataset.samples])
    merged = replace(merged, classnames=(first, *others))
    one = evaluate_zero_shot(EvalContext(lens), merged, templates=["{}"])
    right = sum(found.recall * found.samples for found in one.per_class)
    seconds = sum(
        answer == sample.label == first and old.label == second
        for answer, sample, old in zip(
            answers_in_words(lens, merged), merged.samples, dataset.samples, strict=True
        )
    )
    assert two.metrics["acc1"] == pytest.approx((right - seconds) / 12)


def answers_in_words(lens: Embedder, dataset: Dataset) -> list[str]:
    images = [sample.image_bytes() for sample in dataset.samples]
    return [best[0].label for best in lens.classify(images, dataset.classnames, ["{}"])]


def test_names_that_the_model_reads_alike_have_equal_scores(lens: Embedder, dataset: Dataset):
    names = tuple(f"class {number}" for number in range(37))
    wide = replace(dataset, classnames=(*dataset.classnames, *names, "Class 5", "class  5"))
    features = EvalContext(lens)
    choice = build_zero_shot_classifier(features, wide, templates=["a {}"])
    scores = choice.scores(np.random.default_rng(0).normal(size=(9, lens.config.embed_dim)))
    place = list(choice.names).index("class 5")
    assert (scores[:, -1] == scores[:, place]).all()
    assert (scores[:, -2] == scores[:, place]).all()
    assert choice.shared_names == {"class 5": ("class 5", "Class 5", "class  5")}
    assert (
        choice.weight == features.zero_shot_classifier(list(choice.names.values()), ["a {}"])
    ).mean() > 0.9
