"""Evaluators refuse before a run what they could not measure in it."""

import pytest

from twinlens.data.samples import Dataset
from twinlens.errors import DataError
from twinlens.eval.evaluators import EVALUATORS, HeadEvaluator, ZeroShotEvaluator


def labelled(name: str, *classnames: str) -> Dataset:
    return Dataset(name=name, samples=[], classnames=list(classnames))


@pytest.mark.parametrize("task", list(EVALUATORS))
def test_data_without_labels_is_refused_before_the_run(task: str):
    evaluator = EVALUATORS[task](labelled("val"))
    assert evaluator.name == task
    with pytest.raises(DataError, match="val: got no labels"):
        evaluator.check(labelled("train", "cat", "dog"))


def test_only_a_head_needs_the_training_classes():
    val, train = labelled("val", "cat", "bird"), labelled("train", "cat", "dog")
    ZeroShotEvaluator(val).check(train)
    with pytest.raises(DataError, match="val: got 'bird', expected some of the 2 classes"):
        HeadEvaluator(val).check(train)
