"""Results on disk: what was written is read, and what is damaged is said."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinlens.errors import DataError
from twinlens.eval.results.files import CSV_COLUMNS, StoredResults, read_results, write_results
from twinlens.eval.results.result import Evidence, ReferenceScore, TaskResult

RESULT = TaskResult(
    task="zeroshot_classification",
    dataset="cats",
    metrics={"acc1": 0.75, "roc_auc": math.nan},
    intervals={"acc1": (0.5, 0.875), "roc_auc": (math.nan, math.nan)},
    chance={"acc1": 0.1},
    num_samples=8,
    unreadable={"a/b": "damaged"},
    references=(
        ReferenceScore(metric="acc1", value=0.8, model="ResNet-50", source="a paper"),
        ReferenceScore(metric="acc1", value=0.9, model="ResNet-152", source="a paper"),
    ),
    notes=("Two classes have no name.",),
    evidence=Evidence(
        samples_digest="0123456789abcdef",
        replicates={"acc1": np.linspace(0, 1, 5, dtype=np.float32)},
        correct={"acc1": np.arange(8) % 4 > 0},
    ),
)


def named(dataset: str, task: str = "linear_probe") -> TaskResult:
    return replace(RESULT, dataset=dataset, task=task)


def write(directory: Path, *results: TaskResult) -> None:
    write_results(directory, results, model="tiny", pretrained="by hand")


def test_what_is_written_is_read(tmp_path: Path):
    write(tmp_path, RESULT, named("dogs"))
    stored = read_results(tmp_path)
    assert (stored.model, stored.pretrained) == ("tiny", "by hand")
    assert [(one.dataset, one.task) for one in stored.results] == [
        ("cats", "zeroshot_classification"),
        ("dogs", "linear_probe"),
    ]
    read = stored.results[0]
    assert repr(read) == repr(RESULT)  # two nans are not equal, but are written alike
    assert read.evidence.samples_digest == RESULT.evidence.samples_digest
    for name in ("replicates", "correct"):
        ours, theirs = getattr(read.evidence, name), getattr(RESULT.evidence, name)
        assert ours.keys() == theirs.keys()
        np.testing.assert_array_equal(ours["acc1"], theirs["acc1"])
        assert ours["acc1"].dtype == theirs["acc1"].dtype


def test_names_of_metrics_and_data_sets_may_be_anything(tmp_path: Path):
    strange = ["a/b", "a b", "../x", "Été 日本", "A_B", "", "x" * 400]
    replicates = {"acc1@a/b c": np.zeros(3, np.float32)}
    results = [
        replace(named(name), evidence=Evidence(samples_digest="s", replicates=replicates))
        for name in strange
    ]
    write(tmp_path / "made" / "new", *results)
    stored = read_results(tmp_path / "made" / "new")
    assert {one.dataset for one in stored.results} == set(strange)
    assert all(list(one.evidence.replicates) == ["acc1@a/b c"] for one in stored.results)
    assert all(path.is_relative_to(tmp_path / "made") for path in tmp_path.rglob("*.json"))
    names = {path.name.casefold() for path in tmp_path.rglob("*.json")}
    assert len(names) == len(strange)


def test_the_table_has_a_line_a_metric(tmp_path: Path):
    write(tmp_path, RESULT)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["metric"] for row in rows] == ["acc1", "roc_auc"]
    first = rows[0]
    assert (float(first["value"]), float(first["low"]), float(first["high"])) == (0.75, 0.5, 0.875)
    assert (float(first["reference"]), float(first["chance"])) == (0.9, 0.1)  # the best one
    assert rows[1]["reference"] == ""
    assert (first["model"], first["pretrained"], first["samples"]) == ("tiny", "by hand", "8")


def test_the_json_is_strict_and_holds_what_clip_benchmark_reads(tmp_path: Path):
    write(tmp_path, RESULT)

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    text = (tmp_path / "cats_zeroshot_classification.json").read_text()
    data = json.loads(text, parse_constant=refuse)
    assert data["metrics"] == {"acc1": 0.75, "roc_auc": None}
    assert data["model"] + " " + data["pretrained"] == "tiny by hand"  # what its `build` joins
    assert (data["dataset"], data["task"], data["language"]) == (
        "cats",
        "zeroshot_classification",
        "en",
    )


def test_an_earlier_run_is_replaced_and_other_files_stay(tmp_path: Path):
    write(tmp_path, RESULT, named("dogs"))
    (tmp_path / "notes.json").write_text('["mine"]')
    (tmp_path / "report.html").write_text("page")
    write(tmp_path, named("birds"))
    assert [one.dataset for one in read_results(tmp_path).results] == ["birds"]
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert left == {
        "birds_linear_probe.json",
        "evidence/birds_linear_probe.npz",
        "notes.json",
        "report.html",
        "results.csv",
    }


def test_two_results_of_one_task_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="cats linear_probe: got 2 results, expected one"):
        write(tmp_path, named("cats"), named("cats"))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "file", RESULT)


def damage(directory: Path, how: str) -> None:
    path = directory / "cats_zeroshot_classification.json"
    evidence = directory / "evidence" / "cats_zeroshot_classification.npz"
    if how == "no table":
        (directory / "results.csv").unlink()
    elif how == "cut JSON":
        path.write_text(path.read_text()[:100])
    elif how == "no intervals":
        path.write_text(json.dumps({"dataset": "a", "task": "b", "metrics": {}}))
    elif how == "cut evidence":
        evidence.write_bytes(evidence.read_bytes()[:200])
    elif how == "pickles":
        np.savez(evidence, samples=np.array([{}], object))
    elif how == "two dimensions":
        np.savez(evidence, **{"right/acc1": np.zeros((2, 2), bool)})  # pyright: ignore[reportArgumentType]
    elif how == "another model":
        data = json.loads(path.read_text())
        (directory / "other.json").write_text(json.dumps(data | {"model": "x", "dataset": "dogs"}))
    elif how == "twice":
        (directory / "other.json").write_text(path.read_text())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no table", r"got no results\.csv"),
        ("cut JSON", r"cats_zeroshot_classification\.json: cannot be read"),
        ("no intervals", "KeyError.*expected a result of an evaluation"),
        ("cut evidence", r"cats_zeroshot_classification\.npz: cannot be read"),
        ("pickles", r"cats_zeroshot_classification\.npz: cannot be read"),
        ("two dimensions", "right/acc1: got 2 dimensions, expected 1"),
        ("another model", "got results of 2 models, expected one"),
        ("twice", "got 2 results, expected one"),
    ],
)
def test_what_is_damaged_is_said(tmp_path: Path, how: str, message: str):
    write(tmp_path, RESULT)
    damage(tmp_path, how)
    with pytest.raises(DataError, match=message):
        read_results(tmp_path)


def test_evidence_may_be_missing(tmp_path: Path):
    write(tmp_path, RESULT)
    for path in (tmp_path / "evidence").iterdir():
        path.unlink()
    stored = read_results(tmp_path)
    assert isinstance(stored, StoredResults)
    assert stored.results[0].evidence.samples_digest == ""
