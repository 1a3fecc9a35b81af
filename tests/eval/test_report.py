"""The page: whole, escaped, and dependent on nothing outside itself."""

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tests.eval import plausible
from tests.markup import is_balanced, loads_nothing
from twinlens import Embedder, Prediction, html
from twinlens.data.datasets import Dataset, open_dataset
from twinlens.errors import DataError
from twinlens.eval import report
from twinlens.eval.context import EvalContext
from twinlens.eval.results.compare import compare_results
from twinlens.eval.results.files import StoredResults
from twinlens.eval.results.result import ReferenceScore, TaskResult
from twinlens.eval.tasks.classification import ClassResult, Misclassification
from twinlens.eval.tasks.retrieval import RetrievalExample, RetrievedCandidate
from twinlens.eval.tasks.zero_shot import evaluate_zero_shot


def image(**changes: object) -> report.GalleryImage:
    fields = {
        "image": np.zeros((20, 10, 3), np.uint8),
        "predictions": [Prediction("cat", 0.9), Prediction("dog", 0.1)],
    }
    return report.GalleryImage(**(fields | changes))  # pyright: ignore[reportArgumentType]


def scored(**metrics: float) -> TaskResult:
    return TaskResult(
        task="a task",
        dataset="a set",
        metrics=metrics,
        intervals={},
        chance={},
        num_samples=2,
        unreadable={},
    )


def test_a_page_is_balanced_and_loads_nothing(lens: Embedder, dataset: Dataset):
    document = html.render_page(
        "Title",
        "Lead",
        html.section("Curve", html.line_chart([(0, 2), (9, 1)], title="Loss", x_label="steps")),
        html.section("Images", report.gallery([image(truth="cat"), image(title="two")])),
        html.section("Facts", html.definition_list({"Steps": 3})),
        report.evaluation_page(
            [(evaluate_zero_shot(EvalContext(lens), dataset), dataset)],
            model_name="tiny",
            facts={},
        ),
    )
    assert is_balanced(document)
    assert loads_nothing(document)


def test_words_are_escaped_everywhere():
    bad = "<b>&\"'</b>"
    document = "".join(
        [
            html.render_page(bad, bad),
            html.section(bad, note=bad),
            html.definition_list({bad: bad}),
            report.metric_bars(scored(**{f"acc1@{bad}": 0.5})),
            html.line_chart([(0, 1)], title=bad, x_label=bad),
            report.gallery([image(title=bad, truth=bad, predictions=[Prediction(bad, 1.0)])]),
            report.class_table(
                [ClassResult(classname=bad, recall=0.5, samples=2, mistaken_for=bad)]
            ),
        ]
    )
    assert "<b>&" not in document
    assert document.count("&lt;b&gt;&amp;") >= 10


def test_scores_say_interval_and_times_chance():
    result = scored(acc1=0.25)
    document = report.metric_bars(
        replace(result, intervals={"acc1": (0.2, 0.3)}, chance={"acc1": 0.001})
    )
    for words in (
        "25.0%",
        "20.0% to 30.0%",
        "250 times chance (0.10%)",
        "left:20.00%;width:10.00%",
    ):
        assert words in document


def test_right_and_wrong_answers_are_marked_only_where_the_truth_is_known():
    assert 'class="right"' in report.gallery([image(truth="cat")])
    assert '<li class="wrong"><i style="width:90.0%">' in report.gallery([image(truth="dog")])
    assert "class=" not in report.gallery([image()]).replace('class="gallery"', "")


def test_images_are_small_and_inside_the_page():
    uri = report.image_data_uri(np.zeros((2000, 1000, 3), np.uint8))
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < 2000
    with pytest.raises(DataError):
        report.image_data_uri(b"not an image")


def test_long_class_tables_fold():
    classes = [
        ClassResult(classname=f"class {i}", recall=0.5, samples=2, mistaken_for=None)
        for i in range(30)
    ]
    document = report.class_table(classes, num_visible=10)
    assert "The other 20 classes" in document
    assert document.count("<tr><td>") == 30
    assert "details" not in report.class_table(classes[:10], num_visible=10)


def every_task(dataset: Dataset) -> list[tuple[TaskResult, Dataset]]:
    tasks = (
        plausible.classification,
        plausible.retrieval,
        plausible.probe,
        plausible.robustness,
        plausible.captions,
        plausible.multi_label,
    )
    return [(task(dataset), dataset) for task in tasks]


def test_a_report_holds_every_task_and_stands_alone(dataset: Dataset):
    document = report.evaluation_page(
        every_task(dataset), model_name="tiny", facts={"Precision": "fp32"}
    )
    assert is_balanced(document)
    assert loads_nothing(document)
    anchors = re.findall(r'<section id="(\w+)"', document)
    assert anchors == ["r1", "r2", "r3", "r4", "r5", "r6"]
    assert re.findall(r'<a href="#(\w+)"', document) == anchors
    for words in (
        "5 tasks on 1 data set.",  # one label or several are one task
        "<dt>Precision</dt><dd>fp32</dd>",
        "noise: zero-shot retrieval",
        "What is most often taken for what",
        "The mistakes that it was surest of",
        "% off</b>",  # calibration
        "Validation accuracy",
        "gaussian noise",
        "The captions that fit worst",
        "1 image could not be read",
        '<td data-name="Image">a/broken</td>',
        '<td data-name="Reason">got 3 bytes, expected an image</td>',
        "Two fits did not converge in 1,000 steps.",
        "Classes without images, which can still be answered: 2.",
    ):
        assert words in document


def test_nothing_measured_is_refused():
    with pytest.raises(DataError, match="results: got 0"):
        report.evaluation_page([], model_name="tiny", facts={})


def test_what_a_report_is_told_is_escaped(dataset: Dataset):
    bad = "<u>&\"'</u>"
    named = replace(
        dataset,
        name=bad,
        samples=[replace(one, captions=(bad,), label=bad, key=bad) for one in dataset.samples],
        classnames=(bad, "other"),
    )
    measured = [
        (
            replace(result, notes=(bad,), unreadable={bad: bad}, references=(REFERENCE,)),
            named,
        )
        for result, _ in every_task(named)
    ]
    document = report.evaluation_page(measured, model_name=bad, facts={bad: bad})
    assert is_balanced(document)
    assert "<u>&" not in document
    assert document.count("&lt;u&gt;&amp;") > 60


REFERENCE = ReferenceScore(metric="acc5", value=0.9, model="<u>&\"'</u>", source="a paper")


def cells(html: str) -> list[str]:
    """The words in each cell of the first row of the summary."""
    row = (
        html.split('<table class="summary">')[1].split("</thead>")[1].split("</tr>", maxsplit=1)[0]
    )
    return [re.sub(r"<[^>]*>", " ", cell).strip() for cell in re.split(r"</t[hd]>", row)[:-1]]


def test_the_summary_has_the_main_figure_and_what_to_hold_it_against(dataset: Dataset):
    result = replace(
        plausible.classification(dataset),
        metrics={"acc1": 0.5, "acc5": 0.75, "ece": 0.1},
        intervals={"acc1": (0.25, 0.625)},
        chance={"acc1": 0.1},
        references=(),
    )
    page = report.evaluation_page([(result, dataset)], model_name="tiny", facts={})
    data, bar, figure, chance, supervised, images = cells(page)
    assert data.split() == ["noise", "zero-shot", "classification,", "Top-1", "accuracy"]
    assert bar == ""
    assert figure.split() == ["50.0%", "25.0%", "to", "62.5%"]
    assert (chance, supervised, images) == ("10.0%", "none given", "12")
    # Where a supervised figure is given, its metric is the main one.
    held = replace(result, references=(replace(REFERENCE, model="ResNet-50"),))
    page = report.evaluation_page([(held, dataset)], model_name="tiny", facts={})
    _, _, figure, chance, supervised, _ = cells(page)
    assert (figure, chance, supervised.split()) == ("75.0%", "none", ["90.0%", "ResNet-50"])
    assert '<i class="reference" style="left:90.00%">' in page


def test_images_that_went_since_are_said(dataset: Dataset):
    gone = replace(dataset.samples[0], source=Path("gone.png"))
    torn = replace(dataset, samples=[gone, *dataset.samples[1:]])
    mistake = Misclassification(index=0, truth="blue", predicted="red", confidence=0.9)
    result = replace(
        plausible.classification(dataset), most_confident_errors=[mistake], confusions=[]
    )
    document = report.evaluation_page([(result, torn)], model_name="tiny", facts={})
    assert "blue: cannot be read" in document


def test_examples_mark_what_is_right(dataset: Dataset):
    by_text = RetrievalExample(
        text="a query",
        index=None,
        rank=2,
        candidates=(
            RetrievedCandidate(text=None, index=0, score=0.5, is_relevant=False),
            RetrievedCandidate(text=None, index=1, score=0.4, is_relevant=True),
        ),
    )
    by_image = RetrievalExample(
        text=None,
        index=2,
        rank=1,
        candidates=(RetrievedCandidate(text="a text", index=None, score=0.25, is_relevant=True),),
    )
    result = replace(plausible.retrieval(dataset), examples=[by_text, by_image])
    document = report.evaluation_page([(result, dataset)], model_name="tiny", facts={})
    late = document.split("<h3>Found late</h3>")[1]
    assert "Its image came at rank 2" in late
    assert re.findall(r'<span class="thumb (\w+)"', late) == ["wrong", "right"]
    at_once = document.split("<h3>Found at once</h3>")[1].split("<h3>")[0]
    assert '<li class="right"><span>a text</span><b>0.250</b></li>' in at_once
    assert "Its text came first" in at_once


def test_few_shots_are_drawn_beside_zero_shot_where_that_was_measured(dataset: Dataset):
    probe = (plausible.probe(dataset), dataset)
    words = replace(plausible.classification(dataset), metrics={"acc1": 0.375, "ece": 0.1})
    both = [probe, (words, dataset)]
    assert "zero-shot, 37.5%" in report.evaluation_page(both, model_name="tiny", facts={})
    assert "zero-shot, " not in report.evaluation_page([probe], model_name="tiny", facts={})
    elsewhere = (replace(words, dataset="another"), dataset)
    assert "zero-shot, " not in report.evaluation_page(
        [probe, elsewhere], model_name="tiny", facts={}
    )


def test_robustness_shows_what_there_is(dataset: Dataset):
    full = replace(
        plausible.robustness(dataset),
        metrics={"acc1": 0.6, "standard_acc1@sketches": 0.7},
        corruptions={"fog": (0.5, 0.25), "jpeg": (0.25, 0.25)},
    )
    document = report.evaluation_page([(full, dataset)], model_name="tiny", facts={})
    heat = document.split('<table class="heat">')[1].split("</table>")[0]
    rows = [re.findall(r">([^<>]+)<", row) for row in heat.split("<tr>")[1:]]
    assert rows == [
        ["Severity", "1", "2", "Mean"],
        ["none", "60"],
        ["jpeg", "25", "25", "25"],  # the worst first
        ["fog", "50", "25", "38"],
    ]
    accuracy = full.shifted[0].accuracy
    assert f">{100 * (accuracy - 0.7):.1f} points</td>" in document  # of the classes of both
    bare = replace(full, corruptions={}, shifted=[], baselines={})
    document = report.evaluation_page([(bare, dataset)], model_name="tiny", facts={})
    assert "Corrupted images" not in document
    assert "Other sets" not in document


def test_a_report_of_thumbnails_is_small():
    shards = open_dataset(str(files("twinlens").joinpath("assets/shards/unseen-style")))
    tasks = (plausible.classification, plausible.retrieval, plausible.captions)
    measured = [(task(shards), shards) for task in tasks]
    document = report.evaluation_page(measured, model_name="tiny", facts={})
    assert document.count("data:image/webp") > 60
    assert len(document) < 500_000  # ten such data sets are 5 MB


def test_errors_are_words_and_not_bars(dataset: Dataset):
    document = report.metric_bars(plausible.classification(dataset))
    assert "<dt>Expected calibration error</dt>" in document
    assert re.findall("<h4>(.*?)</h4>", document) == [
        "Top-1 accuracy",
        "Top-5 accuracy",
        "Mean per class recall",
    ]


def stored(name: str, *results: TaskResult) -> StoredResults:
    return StoredResults(model=name, pretrained="by hand", results=list(results))


def test_a_comparison_is_drawn_around_nothing(dataset: Dataset):
    right = np.arange(1000) % 10
    worse = plausible.classification(dataset)
    pair = [
        replace(
            worse, num_samples=1000, metrics=metrics, evidence=plausible.evidence({"acc1": rows})
        )
        for metrics, rows in (
            ({"acc1": 0.5, "ece": 0.1, "acc5": 0.9}, right < 5),
            ({"acc1": 0.7, "ece": 0.1}, right < 7),
        )
    ]
    first, second = stored("<u>&one", pair[0]), stored("two", pair[1])
    document = report.comparison_page(first, second, compare_results(first, second))
    assert is_balanced(document)
    assert loads_nothing(document)
    assert "<u>&one" not in document
    assert "two is better in 1 and &lt;u&gt;&amp;one in 0; 0 may differ by chance" in document
    assert document.count('class="around second"') == 1
    assert "+20.0 points" in document
    point = float(re.findall(r'class="point" style="left:([\d.]+)%', document)[0])
    line, width = map(
        float, re.findall(r'class="interval" style="left:([\d.]+)%;width:([\d.]+)', document)[0]
    )
    assert 50 < line < point < line + width < 98.01
    assert "cannot be paired: no resamples were kept" in document
    assert "only &lt;u&gt;&amp;one was measured" in document


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (("a", "x"), ("b", "x"), "b against a"),
        (("a", "x"), ("a", "y"), "a, y against a, x"),
        (("a", "x"), ("a", "x"), "a, second against a, first"),
    ],
)
def test_models_of_one_name_are_told_apart(
    first: tuple[str, str], second: tuple[str, str], names: str
):
    ours, theirs = (
        StoredResults(model=model, pretrained=pretrained, results=[])
        for model, pretrained in (first, second)
    )
    assert f"<h1>{names}</h1>" in report.comparison_page(ours, theirs, [])
