"""The page: whole, escaped, and dependent on nothing outside itself."""

import numpy as np
import pytest

from tests.markup import is_balanced, loads_nothing
from twinlens import Embedder, Prediction, pages
from twinlens.data.datasets import Dataset
from twinlens.errors import DataError
from twinlens.eval import report
from twinlens.eval.classification import ClassResult
from twinlens.eval.tasks.zero_shot import measure


def picture(**changes: object) -> report.Picture:
    fields = {
        "image": np.zeros((20, 10, 3), np.uint8),
        "predictions": [Prediction("cat", 0.9), Prediction("dog", 0.1)],
    }
    return report.Picture(**(fields | changes))  # pyright: ignore[reportArgumentType]


def test_a_page_is_balanced_and_loads_nothing(lens: Embedder, dataset: Dataset):
    html = pages.page(
        "Title",
        "Lead",
        pages.section("Curve", pages.line_chart([(0, 2), (9, 1)], title="Loss", x_label="steps")),
        pages.section("Pictures", report.gallery([picture(truth="cat"), picture(title="two")])),
        pages.section("Facts", pages.facts({"Steps": 3})),
        report.classification_page(measure(lens, dataset), model="tiny"),
    )
    assert is_balanced(html)
    assert loads_nothing(html)


def test_words_are_escaped_everywhere():
    bad = "<b>&\"'</b>"
    html = "".join(
        [
            pages.page(bad, bad),
            pages.section(bad, note=bad),
            pages.facts({bad: bad}),
            report.scores([report.Score(name=bad, value=0.5)]),
            pages.line_chart([(0, 1)], title=bad, x_label=bad),
            report.gallery([picture(title=bad, truth=bad, predictions=[Prediction(bad, 1.0)])]),
            report.class_table(
                [ClassResult(classname=bad, recall=0.5, samples=2, mistaken_for=bad)]
            ),
        ]
    )
    assert "<b>&" not in html
    assert html.count("&lt;b&gt;&amp;") >= 10


def test_scores_say_interval_and_times_chance():
    html = report.scores(
        [report.Score(name="Top-1", value=0.25, interval=(0.2, 0.3), chance=0.001)]
    )
    for words in (
        "25.0%",
        "20.0% to 30.0%",
        "250 times chance (0.10%)",
        "left:20.00%;width:10.00%",
    ):
        assert words in html


def test_right_and_wrong_answers_are_marked_only_where_the_truth_is_known():
    assert 'class="right"' in report.gallery([picture(truth="cat")])
    assert '<li class="wrong"><i style="width:90.0%">' in report.gallery([picture(truth="dog")])
    assert "class=" not in report.gallery([picture()]).replace('class="gallery"', "")


def test_pictures_are_small_and_inside_the_page():
    uri = report.data_uri(np.zeros((2000, 1000, 3), np.uint8))
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 2000
    with pytest.raises(DataError):
        report.data_uri(b"not a picture")


def test_long_class_tables_fold():
    classes = [
        ClassResult(classname=f"class {i}", recall=0.5, samples=2, mistaken_for=None)
        for i in range(30)
    ]
    html = report.class_table(classes, shown=10)
    assert "The other 20 classes" in html
    assert html.count("<tr><td>") == 30
    assert "details" not in report.class_table(classes[:10], shown=10)
