"""The page of a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.markup import is_balanced, loads_nothing
from tests.train.runs import tiny_recipe
from twinlens.errors import CheckpointError
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.report import render_report, write_report


def line(step: int, **changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "step": step,
        "steps": 12,
        "began": 0,
        "samples_seen": 8 * step,
        "loss": 5 / step,
        "lr": 1e-3,
        "scale": 14.3,
        "grad_norm": 2.0,
        "pairs_per_second": 100.0,
        "mfu": None,
        "data_wait": 0.02,
        "memory_gb": 1.5,
        "seconds_left": 3723.0,
        "truncated_captions": 1,
        "bad_samples": step,
        "skipped_steps": 0,
        "metrics": None,
    }
    return fields | changes


def written(out: Path, *lines: dict[str, object]) -> str:
    (out / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    path = write_report(out, tiny_recipe())
    assert path == out / "train.html"
    return path.read_text()


def test_it_shows_curves_recipe_and_counts(tmp_path: Path):
    html = written(
        tmp_path, line(2), line(4, metrics={"acc1": 0.5, "ece": 0.025, "median_rank": 12.0})
    )
    assert is_balanced(html)
    assert loads_nothing(html)
    for words in (
        "tiny is 33.3% of the way: 12 steps of 8 pairs, 96 in all.",
        "4 of 12",
        "1 h 02 min",
        "Norm of the gradient",
        "Share of the time spent waiting for data <b>2.0%</b>",
        "Loss <b>1.25</b>",
        "Zero-shot accuracy (top-1) <b>50.0%</b>",
        "Median rank <b>12</b>",
        "Expected calibration error <b>2.5%</b>",
        "<dt>optim.lr</dt><dd>0.01</dd>",
        "<dt>Bad samples replaced</dt><dd>4</dd>",
    ):
        assert words in html
    assert "devices&#x27; peak" not in html  # was never known


def test_it_lists_where_processes_went_on_and_adds_up_their_counts(tmp_path: Path):
    html = written(
        tmp_path,
        line(2, bad_samples=3),
        line(4, began=2, bad_samples=1),
        line(6, began=2, bad_samples=5),
        line(12, began=6, bad_samples=2),
    )
    assert "<dt>Bad samples replaced</dt><dd>10</dd>" in html
    assert "<dt>1. process</dt><dd>from the beginning to step 2</dd>" in html
    assert "<dt>2. process</dt><dd>from step 2 to step 6</dd>" in html
    assert "<dt>3. process</dt><dd>from step 6 to step 12</dd>" in html
    assert "tiny is done" in html


@pytest.mark.parametrize(
    ("pace", "so_far", "total"),
    [
        (1.6, "0 min 20 s", "0 min 50 s"),
        (0.08, "6 min 40 s", "16 min 40 s"),
        (0.008, "1 h 06 min", "2 h 46 min"),
    ],
)
def test_a_run_that_is_done_says_how_long_it_took(
    tmp_path: Path, pace: float, so_far: str, total: str
):
    lines = [line(2, pairs_per_second=pace), line(4, began=2, pairs_per_second=pace)]
    assert f"<dt>Time so far</dt><dd>{so_far}</dd>" in written(tmp_path, *lines)
    done = written(tmp_path, *lines, line(12, samples_seen=80, pairs_per_second=pace))
    assert "Time so far" not in done
    assert "Time left" not in done
    assert f"<dt>Total time</dt><dd>{total}</dd>" in done


def test_a_classifier_s_accuracy_is_not_called_zero_shot():
    recipe = replace(tiny_recipe(), init="icons", adapt=AdaptConfig(head="linear-probe"))
    html = render_report(recipe, [line(4, metrics={"acc1": 0.5})], title="t")
    assert "Accuracy (top-1) <b>50.0%</b>" in html
    assert "Zero-shot" not in html


def test_a_run_without_a_line_has_a_page_too(tmp_path: Path):
    html = written(tmp_path)
    assert is_balanced(html)
    assert "0 of 12" in html


def test_a_page_that_cannot_be_written_says_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"train\.html: cannot be written"):
        write_report(tmp_path / "nowhere", tiny_recipe())
