"""The page: whole, escaped, and dependent on nothing outside itself."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens import Embedder, Prediction
from twinlens.data.datasets import Dataset
from twinlens.errors import DataError
from twinlens.eval import report
from twinlens.eval.zero_shot import ClassResult, measure

VOID = {"meta", "img", "line", "polyline", "circle"}


class Balance(HTMLParser):
    """Notes every element that is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.faults.append(tag)


def picture(**changes: object) -> report.Picture:
    fields = {
        "image": np.zeros((20, 10, 3), np.uint8),
        "predictions": [Prediction("cat", 0.9), Prediction("dog", 0.1)],
    }
    return report.Picture(**(fields | changes))  # pyright: ignore[reportArgumentType]


def test_a_page_is_balanced_and_loads_nothing(lens: Embedder, dataset: Dataset):
    html = report.page(
        "Title",
        "Lead",
        report.section("Curve", report.line_chart([(0, 2), (9, 1)], title="Loss", x_label="steps")),
        report.section("Pictures", report.gallery([picture(truth="cat"), picture(title="two")])),
        report.section("Facts", report.facts({"Steps": 3})),
        report.zero_shot_page(measure(lens, dataset), model="tiny"),
    )
    balance = Balance(html)
    assert (balance.faults, balance.open) == ([], [])
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script|<link""", html)


def test_words_are_escaped_everywhere():
    bad = "<b>&\"'</b>"
    html = "".join(
        [
            report.page(bad, bad),
            report.section(bad, note=bad),
            report.facts({bad: bad}),
            report.scores([report.Score(name=bad, value=0.5)]),
            report.line_chart([(0, 1)], title=bad, x_label=bad),
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


def test_a_chart_puts_its_ends_where_the_axes_say():
    svg = report.line_chart([(0, 0), (10, 4)], title="Loss", x_label="steps")
    assert 'points="44.0,186.0 388.0,14.0"' in svg
    assert report.line_chart([], title="Loss", x_label="steps") == ""


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_a_chart_keeps_every_point_inside(points: list[tuple[float, float]]):
    svg = report.line_chart(points, title="t", x_label="x")
    [drawn] = re.findall(r'points="([^"]*)"', svg)
    places = [tuple(map(float, place.split(","))) for place in drawn.split()]
    assert len(places) == len(points)
    assert all(43 <= x <= 389 and 13 <= y <= 187 for x, y in places)


@given(st.floats(-1e9, 0), st.floats(0, 1e9))
def test_ticks_span_their_range_in_few_steps(low: float, high: float):
    marks = report.ticks(low, high)
    slack = 1e-6 * (high - low) + 1e-12
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 7
    assert marks == sorted(set(marks))


def test_long_class_tables_fold():
    classes = [
        ClassResult(classname=f"class {i}", recall=0.5, samples=2, mistaken_for=None)
        for i in range(30)
    ]
    html = report.class_table(classes, shown=10)
    assert "The other 20 classes" in html
    assert html.count("<tr><td>") == 30
    assert "details" not in report.class_table(classes[:10], shown=10)
