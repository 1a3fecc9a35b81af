"""Throughputs, what they are compared with, and interference."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.benchmark.conftest import OPTIONS, QUIET
from tests.benchmark.test_records import rate
from tests.markup import is_balanced
from tests.tiny import CLIP_VOCABULARY, tiny_config
from twinlens.benchmark import precision_costs
from twinlens.benchmark import speed as speed_module
from twinlens.benchmark.interference import Disturbance
from twinlens.benchmark.records import TWINLENS, BenchmarkOptions, BenchmarkResult
from twinlens.benchmark.report import benchmark_page
from twinlens.benchmark.speed import run_benchmark
from twinlens.checkpoints.native import save_model
from twinlens.model.clip import CLIP
from twinlens.types import no_progress

ON_TORCH = {"engine": "torch", "device": "cpu", "progress": no_progress}
BUSY = Disturbance(others=1.3, spread=0.4, reasons=("other work kept 1.3 of 2 cores busy",))
QUARTILES = [
    {"per_second": 100.0, "low": 1e3 / upper, "high": 1e3 / lower}
    for lower, upper in ((9.8, 10.3), (9.8, 10.3), (8.0, 13.0))
]
"""Throughputs of calls of 10 ms, by the quartiles of their durations in ms."""


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_every_library_precision_tower_and_batch_is_measured(
    engine: str, request: pytest.FixtureRequest
):
    fixture = "speed" if engine == "torch" else "openvino_speed"
    speed: BenchmarkResult = request.getfixturevalue(fixture)
    assert (speed.engine, speed.device) == (engine, "cpu")
    assert {"torch", "openvino"} & speed.machine.keys() == {engine}
    ours = {(one.precision, one.tower, one.batch) for one in speed.rates if one.library == TWINLENS}
    assert ours == {(p, t, b) for p in ("fp32", "bf16") for t in ("image", "text") for b in (1, 2)}
    for one in speed.rates:
        assert 0 < one.low <= one.per_second <= one.high
        assert one.p50_ms <= one.p99_ms
        assert one.per_second == pytest.approx(1e3 * one.batch / one.p50_ms)
        assert one.ceiling_share is not None
        assert 0 < one.ceiling_share < 1
    assert (speed.image_size, speed.towers) == (32, ["image", "text"])
    assert speed.decode[0].decode == "exact"


def test_ours_is_compared_with_a_peer_where_both_were_measured(speed: BenchmarkResult):
    rates = {(one.library, one.precision, one.tower, one.batch): one for one in speed.rates}
    theirs = rates["other 1.0", "fp32", "text", 2]
    ours = rates[TWINLENS, "fp32", "text", 2]
    assert theirs.ratio == pytest.approx(ours.per_second / theirs.per_second)
    assert ours.ratio is None


def test_what_memory_does_not_suffice_for_is_said(speed: BenchmarkResult):
    [failure] = speed.failures
    assert (failure.library, failure.tower, failure.batch) == ("other 1.0", "image", 2)
    assert failure.reason == "out of memory"
    assert ("other 1.0", "image", 2) not in {(r.library, r.tower, r.batch) for r in speed.rates}


def test_it_is_plain_json(speed: BenchmarkResult):
    again = json.loads(json.dumps(speed.to_dict()))
    assert again["recommended"][0]["tower"] == "image"
    assert again["asked"]["price"] == 3.6


def test_of_a_disturbed_machine_nothing_is_recommended(
    monkeypatch: pytest.MonkeyPatch, tiny_directory: Path
):
    monkeypatch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *asked: 1e9)
    monkeypatch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *seen: BUSY)
    asked = replace(OPTIONS, precisions=("fp32",), batches=(1,))
    speed = run_benchmark(tiny_directory, asked, model="tiny", **ON_TORCH)
    assert speed.rates
    assert speed.recommended == []
    told = json.loads(json.dumps(speed.to_dict()))
    assert told["disturbed"] is True
    assert told["disturbance"]["reasons"] == list(BUSY.reasons)


def test_what_others_took_is_held_against_our_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("twinlens.benchmark.interference.affinity_cpu_count", lambda: 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    rates = [replace(rate("fp32", 1, 50), **quartiles) for quartiles in QUARTILES]
    rates.append(replace(rate("fp32", 1, 50, "other 1.0"), low=1, high=100))
    monitor = SimpleNamespace(other_cores_busy=lambda: 1.0)
    on_cpu, on_cuda = (
        speed_module._measure_disturbance(monitor, rates, "torch", device)
        for device in ("cpu", "cuda:0")
    )
    assert len(on_cpu.reasons) == 1
    assert on_cpu.spread == pytest.approx(0.05)  # the median of our own calls
    assert on_cuda.reasons == ()  # one thread and one core's work have room on two


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_a_model_of_one_tower_has_that_one_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tower: str
):
    missing = {"text": None} if tower == "vision" else {"vision": None, "preprocess": None}
    save_model(CLIP(tiny_config(vocab_size=CLIP_VOCABULARY, **missing)), tmp_path)
    monkeypatch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *asked: None)
    monkeypatch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *seen: QUIET)
    asked = BenchmarkOptions(precisions=("fp32",), batches=(2,), seconds=1e-6)
    speed = run_benchmark(tmp_path, asked, model="half", **ON_TORCH)
    assert speed.towers == ["image" if tower == "vision" else "text"]
    assert len(speed.rates) == len(speed.recommended) == 1
    assert (speed.image_size is None, speed.tokens_per_text is None) == (
        tower == "text",
        tower == "vision",
    )
    assert is_balanced(benchmark_page(speed))
