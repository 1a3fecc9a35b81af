"""Templates and class names, from the data set or the caller."""

from dataclasses import replace

import pytest

from twinlens.data.datasets import Dataset
from twinlens.errors import DataError
from twinlens.eval.prompts import choose_templates, localised_classnames


def test_given_templates_come_first_then_the_data_set_s(dataset: Dataset):
    own = replace(dataset, templates=("a drawing of {c}",))
    assert choose_templates(["{}"], own, ["x {}"]) == ("{}",)
    assert choose_templates([], own, ["x {}"]) == ("a drawing of {}",)
    assert choose_templates([], dataset, ["x {}"]) == ("x {}",)


def test_english_names_are_the_labels(dataset: Dataset):
    assert localised_classnames(dataset) == {name: name for name in dataset.classnames}


def test_other_languages_leave_out_classes_without_a_name(dataset: Dataset):
    assert localised_classnames(dataset, "de") == {"blue": "blau", "green": "grün", "red": "rot"}


def test_a_language_without_names_lists_those_there_are(dataset: Dataset):
    with pytest.raises(DataError, match=r"language: got 'fr', expected .* de, en"):
        localised_classnames(dataset, "fr")


def test_a_data_set_without_labels_cannot_be_classified(dataset: Dataset):
    with pytest.raises(DataError, match="got no labels"):
        localised_classnames(replace(dataset, classnames=()))
