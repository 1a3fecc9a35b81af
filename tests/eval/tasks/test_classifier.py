"""A model's own classifier, measured where every answer is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from twinlens import Embedder
from twinlens.checkpoints.head import ClassifierHead
from twinlens.data.datasets import Dataset
from twinlens.errors import ConfigError, DataError
from twinlens.eval.context import EvalContext
from twinlens.eval.report import evaluation_page
from twinlens.eval.tasks import classifier
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer

CLASSES = ("mauve", "red", "yellow", "pink", "green", "blue")
"""In another order than the data set's, and two more."""


def with_head(model: CLIP, head: ClassifierHead | None) -> Embedder:
    return Embedder.from_model(model, Tokenizer.clip(), device="cpu", head=head)


@pytest.fixture
def knowing(tiny_model: CLIP, dataset: Dataset) -> Embedder:
    """A classifier that is right but for the first image, blue, which it takes for mauve."""
    answers = ["mauve", *(str(sample.label) for sample in dataset.samples[1:])]
    wanted = np.array([[answer == name for name in CLASSES] for answer in answers], np.float32)
    images = [sample.image_bytes() for sample in dataset.samples]
    embeddings = with_head(tiny_model, None).embed_images(images)
    weight = np.linalg.pinv(embeddings.astype(np.float64)) @ wanted  # fewer images than numbers
    return with_head(tiny_model, ClassifierHead(CLASSES, weight.astype(np.float32)))


def test_every_figure_is_the_known_one(knowing: Embedder, dataset: Dataset):
    result = classifier.evaluate_head(EvalContext(knowing), dataset)
    assert result.metrics["acc1"] == 11 / 12
    assert result.metrics["acc5"] >= 11 / 12
    assert result.metrics["mean_per_class_recall"] == pytest.approx((2 / 3 + 3) / 4)
    assert result.intervals["acc1"] == (0.75, 1.0)  # of 9 to 12 right answers of 12
    assert result.chance["acc1"] == result.chance["mean_per_class_recall"] == 1 / 6
    assert (result.num_samples, result.num_classes, result.num_unnamed_classes) == (12, 6, 0)
    worst, *others = result.per_class
    assert (worst.classname, worst.samples, worst.mistaken_for) == ("blue", 3, "mauve")
    assert {one.classname for one in others} == {"green", "red", "yellow"}
    assert {one.recall for one in others} == {1.0}
    [confusion] = result.confusions
    assert (confusion.truth, confusion.predicted, confusion.images) == ("blue", "mauve", 1)
    assert confusion.indices == (0,)
    [mistake] = result.most_confident_errors
    assert (mistake.index, mistake.truth, mistake.predicted) == (0, "blue", "mauve")
    assert 1 / 6 < mistake.confidence < 1
    assert result.evidence.correct["acc1"].tolist() == [False] + 11 * [True]


def test_the_answers_are_those_of_classify(knowing: Embedder, dataset: Dataset):
    images = [sample.image_bytes() for sample in dataset.samples]
    best = [found[0].label for found in knowing.classify(images)]
    assert best == ["mauve", *(sample.label for sample in dataset.samples[1:])]


def test_json_and_page_are_those_of_zero_shot_but_for_the_words(
    knowing: Embedder, dataset: Dataset
):
    result = classifier.evaluate_head(EvalContext(knowing), dataset)
    answer = json.loads(json.dumps(result.to_dict(model="tiny", pretrained="by hand")))
    assert (answer["task"], answer["templates"]) == ("classifier", [])
    assert list(answer)[:6] == ["dataset", "model", "pretrained", "task", "metrics", "language"]
    html = evaluation_page([(result, dataset)], model_name="tiny", facts={})
    assert "Prompts" not in html
    assert "Zero-shot" not in html


@pytest.mark.parametrize(
    ("extra", "listed"),
    [
        (["cat"], "got 'cat', expected some of the 6 classes that the classifier has"),
        ([f"cat {i}" for i in range(7)], "'cat 3', 'cat 4' and 2 others, expected"),
    ],
)
def test_classes_that_the_classifier_has_not(
    knowing: Embedder, dataset: Dataset, extra: list[str], listed: str
):
    wider = replace(dataset, classnames=(*dataset.classnames, *extra))
    with pytest.raises(DataError, match=listed) as raised:
        classifier.evaluate_head(EvalContext(knowing), wider)
    assert "'blue'," not in str(raised.value)


def test_without_labels_or_classifier_there_is_nothing_to_measure(
    tiny_model: CLIP, knowing: Embedder, dataset: Dataset
):
    with pytest.raises(DataError, match="noise: got no labels"):
        classifier.evaluate_head(EvalContext(knowing), replace(dataset, classnames=()))
    with pytest.raises(ConfigError, match="no classifier of its own, expected one fine-tuned"):
        classifier.evaluate_head(EvalContext(with_head(tiny_model, None)), dataset)
