"""The log: what its lines say of the steps since the last."""

import json
from pathlib import Path

import pytest

from tests.train.runs import tiny_recipe
from twinlens.train import log as log_module
from twinlens.train.log import LogEntry, TrainingLog
from twinlens.train.planning.flops import pair_cost

RECIPE = tiny_recipe("vit")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a test sets."""
    now = [100.0]
    monkeypatch.setattr(log_module.time, "perf_counter", lambda: now[0])
    return now


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_about_the_steps_since_the_last(tmp_path: Path, clock: list[float]):
    seen: list[LogEntry] = []
    log = TrainingLog(tmp_path / "log.jsonl", RECIPE, 0, seen.append, peak_flops=1e9)
    for loss, norm in ((1.0, 2.0), (3.0, 6.0)):
        log.add_step(loss, 1, grad_norm=norm, wait_seconds=0.5, caption_tokens=6, num_bad=2)
    clock[0] += 4
    log.write(2, scale=14.0)
    log.add_step(5.0, 0)
    clock[0] += 1
    log.write(3, scale=15.0)
    first, second = lines(tmp_path / "log.jsonl")
    assert (first["loss"], first["grad_norm"], first["data_wait"]) == (2.0, 4.0, 0.25)
    assert (first["truncated_captions"], first["bad_samples"]) == (2, 4)
    assert first["pairs_per_second"] == 2 * RECIPE.batch_size / 4
    expected = pair_cost(RECIPE, 6).training * first["pairs_per_second"] / 1e9
    assert first["mfu"] == pytest.approx(expected)
    assert (second["loss"], second["grad_norm"], second["data_wait"]) == (5.0, None, 0.0)
    assert second["bad_samples"] == 4
    assert 0.05 < first["memory_gb"] < 1000
    assert [progress.step for progress in seen] == [2, 3]


def test_without_a_peak_there_is_no_utilisation(tmp_path: Path):
    log = TrainingLog(tmp_path / "log.jsonl", RECIPE, 0, None)
    log.add_step(1.0, 0)
    log.write(1, scale=1.0)
    assert lines(tmp_path / "log.jsonl")[0]["mfu"] is None


def test_skipped_steps_are_counted_and_their_loss_is_not(tmp_path: Path):
    log = TrainingLog(tmp_path / "log.jsonl", RECIPE, 0, None)
    nan = float("nan")
    log.add_step(nan, 0, grad_norm=nan, is_skipped=True)
    log.write(1, scale=1.0)  # nothing to say
    log.add_step(1.0, 0)
    log.write(2, scale=1.0)
    [line] = lines(tmp_path / "log.jsonl")
    assert (line["step"], line["loss"], line["skipped_steps"]) == (2, 1.0, 1)


def test_a_resumed_process_says_where_it_began(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    for first, last in ((0, 3), (2, 4)):
        log = TrainingLog(path, RECIPE, first, None)
        for step in range(first, last):
            log.add_step(1.0, 0)
            log.write(step + 1, scale=1.0)
    assert [(line["step"], line["began"]) for line in lines(path)] == [
        (1, 0),
        (2, 0),
        (3, 2),
        (4, 2),
    ]
