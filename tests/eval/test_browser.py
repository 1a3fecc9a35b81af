"""Reports, comparisons and speeds in a real browser: nothing sticks out, is cut or overlaps."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import browser
from tests.benchmark.test_speed import rate
from tests.eval import plausible
from tests.eval.test_report import every_task, stored
from twinlens.benchmark.interference import Disturbance
from twinlens.benchmark.precision_costs import PrecisionCost
from twinlens.benchmark.records import BenchmarkFailure, BenchmarkOptions, BenchmarkResult
from twinlens.benchmark.report import benchmark_page
from twinlens.data.datasets import Dataset
from twinlens.eval import report
from twinlens.eval.results.compare import compare_results

LONG = "runs/of-last-week/vit-b-32-with-a-long-name/model"


def comparison(dataset: Dataset) -> str:
    """Of two models that are far apart, so that the intervals are narrow beside the scale."""
    right = np.arange(1000) % 20
    base = plausible.classification(dataset)
    pair = [
        replace(
            base, num_samples=1000, metrics=metrics, evidence=plausible.evidence({"acc1": rows})
        )
        for metrics, rows in (
            ({"acc1": 0.05, "ece": 0.1, "acc5": 0.9}, right < 1),
            ({"acc1": 0.95, "ece": 0.1}, right < 19),
        )
    ]
    first, second = stored(LONG, pair[0]), stored("two", pair[1])
    return report.comparison_page(first, second, compare_results(first, second))


def speed() -> str:
    cosines = {"image": 0.9999, "text": 0.9998}
    precisions = ("fp32", "bf16")
    return benchmark_page(
        BenchmarkResult(
            model=LONG,
            random_weights=True,
            engine="torch",
            device="cpu",
            machine={"device": "A processor of some maker, 2.20GHz", "cores": 2, "threads": 2},
            asked=BenchmarkOptions(precisions=precisions, batches=(1, 2), price=3.6),
            image_size=224,
            tokens_per_text=14.7,
            precisions=[
                PrecisionCost(
                    precision=one, load_seconds=1.5, peak_memory=4 * 10**8, cosines=cosines
                )
                for one in precisions
            ],
            ceilings={"fp32": 3.1e10, "bf16": 6e10},
            rates=[
                replace(rate(one, batch, 12_345.6), tower=tower, p50_ms=batch * 12.3)
                for one in precisions
                for tower in ("image", "text")
                for batch in (1, 2)
            ],
            failures=[
                BenchmarkFailure(
                    library="open_clip 3.3.0",
                    precision="fp32",
                    tower="image",
                    batch=2,
                    reason="out of memory",
                )
            ],
            decode=[],
            recommended=[],
            disturbance=Disturbance(others=0.0, spread=0.02, reasons=()),
        )
    )


@browser.NEEDED
def test_nothing_is_cut_on_a_telephone(dataset: Dataset, tmp_path: Path):
    pages = {
        "report": report.evaluation_page(
            every_task(dataset), model_name=LONG, facts={"Precision": "fp32"}
        ),
        "comparison": comparison(dataset),
        "speed": speed(),
    }
    found = browser.faults(pages, tmp_path)
    assert sorted(found) == sorted(f"{name} at {width}" for name in pages for width in (390, 1440))
    assert {name: told for name, told in found.items() if told} == {}


@browser.NEEDED
def test_the_browser_finds_what_is_cut(tmp_path: Path):
    wide = '<body><p style="width:500px">wide</p><div style="overflow:auto;width:50px">'
    cut = '<span style="white-space:nowrap">a line that has no room here</span></div></body>'
    found = browser.faults({"bad": wide + cut}, tmp_path)
    assert "sticks out: P  wide" in found["bad at 390"]
    assert [one for one in found["bad at 1440"] if one.startswith("is cut: DIV")]


# Asks the browser how wide an interval is drawn, and how much of that its mark hides.
MEASURE = """<script>addEventListener("load", () => {
  const wide = (name) => document.querySelector(name).getBoundingClientRect().width;
  document.title = `${wide(".around .interval")} ${wide(".around .point")}`;
})</script>"""


@browser.NEEDED
def test_intervals_of_a_comparison_are_not_hidden_by_their_marks(dataset: Dataset, tmp_path: Path):
    page = tmp_path / "comparison.html"
    page.write_text(comparison(dataset).replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    found = re.search(r"<title>([\d.]+) ([\d.]+)</title>", browser.dom(page, tmp_path / "profile"))
    assert found
    interval, mark = map(float, found.groups())
    assert interval >= 2 * mark


@pytest.mark.parametrize(
    ("recalls", "heading"),
    [([0.5], "Classes"), ([0.5, 0.5], "Classes"), ([0.0, 1.0], "Classes, worst first")],
)
def test_an_order_is_named_where_there_is_one(dataset: Dataset, recalls: list[float], heading: str):
    found = plausible.classification(dataset)
    classes = [replace(found.per_class[0], recall=recall) for recall in recalls]
    measured = [(replace(found, per_class=classes), dataset)]
    html = report.evaluation_page(measured, model_name="tiny", facts={})
    assert re.findall(r"<h3>(Classes[^<]*)</h3>", html) == [heading]
