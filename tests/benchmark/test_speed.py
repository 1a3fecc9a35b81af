"""Rates, what they are compared with, and what is recommended of them."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.markup import is_balanced, loads_nothing
from tests.tiny import CLIP_VOCABULARY, tiny_config
from twinlens import Embedder
from twinlens.benchmark import precision_costs
from twinlens.benchmark import speed as speed_module
from twinlens.benchmark.interference import Disturbance
from twinlens.benchmark.precision_costs import (
    PrecisionCost,
    embed_pixels,
    peak_memory_in_subprocess,
)
from twinlens.benchmark.records import (
    TWINLENS,
    BenchmarkOptions,
    BenchmarkResult,
    Throughput,
    recommend_setting,
)
from twinlens.benchmark.report import benchmark_page
from twinlens.benchmark.speed import benchmark_precisions, run_benchmark
from twinlens.checkpoints.native import save_model
from twinlens.errors import ConfigError, UnknownNameError
from twinlens.model.clip import CLIP

CPU = torch.device("cpu")
QUIET = Disturbance(others=0.0, spread=0.02, reasons=())
BUSY = Disturbance(others=1.3, spread=0.4, reasons=("other work kept 1.3 of 2 cores busy",))
ASKED = BenchmarkOptions(precisions=("fp32", "bf16"), batches=(1, 2), seconds=1e-6, price=3.6)


def nothing(done: int, total: int, what: str = "") -> None:
    pass


@dataclass
class Peer:
    """A library that images are too much for."""

    library: str = "other 1.0"
    precision: str = "fp32"

    def images(self, pixels: Tensor, /) -> object:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return pixels

    def texts(self, texts: Sequence[str], /) -> object:
        assert all(isinstance(text, str) for text in texts)
        return texts


@pytest.fixture(scope="module")
def speed(tiny_directory: Path) -> BenchmarkResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *asked: 1e9)
        patch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *seen: QUIET)
        return run_benchmark(
            tiny_directory, ASKED, model="tiny", device=CPU, baselines=[Peer()], progress=nothing
        )


def test_every_library_precision_tower_and_batch_is_measured(speed: BenchmarkResult):
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


def test_precisions_are_held_to_float32(speed: BenchmarkResult):
    exact, rounded = speed.precisions
    assert (exact.precision, rounded.precision) == ("fp32", "bf16")
    for tower in ("image", "text"):
        assert exact.cosines[tower] == pytest.approx(1)
        assert 0.99 < rounded.cosines[tower] < 1
    assert exact.load_seconds > 0
    assert set(speed.ceilings) == {"fp32", "bf16"}


def test_it_is_plain_json(speed: BenchmarkResult):
    again = json.loads(json.dumps(speed.to_dict()))
    assert again["recommended"][0]["tower"] == "image"
    assert again["asked"]["price"] == 3.6


def test_the_page_stands_alone_and_draws_every_line(speed: BenchmarkResult):
    html = benchmark_page(speed)
    assert is_balanced(html)
    assert loads_nothing(html)
    drawn = [html.count(f'<g class="series s{colour}">') for colour in (0, 1)]
    assert drawn == [4, 2]  # float32 of ours and of the peer, bf16 of ours; of both towers
    assert "stroke-dasharray" in html
    assert "out of memory" in html
    assert "random weights" not in html
    assert "random weights" in benchmark_page(replace(speed, random_weights=True))
    assert "none of what was measured" in benchmark_page(replace(speed, recommended=[]))


def test_of_a_disturbed_machine_nothing_is_recommended(
    monkeypatch: pytest.MonkeyPatch, tiny_directory: Path
):
    monkeypatch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *asked: 1e9)
    monkeypatch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *seen: BUSY)
    asked = replace(ASKED, precisions=("fp32",), batches=(1,))
    speed = run_benchmark(tiny_directory, asked, model="tiny", device=CPU, progress=nothing)
    assert speed.rates
    assert speed.recommended == []
    told = json.loads(json.dumps(speed.to_dict()))
    assert told["disturbed"] is True
    assert told["disturbance"]["reasons"] == list(BUSY.reasons)
    html = benchmark_page(speed)
    assert is_balanced(html)
    assert "The machine was disturbed" in html
    assert BUSY.reasons[0] in html
    assert "What to set" not in html
    assert "Cost of a million" not in html


def test_a_quiet_machine_is_not_spoken_of_as_disturbed(speed: BenchmarkResult):
    assert speed.to_dict()["disturbed"] is False
    assert "disturbed" not in benchmark_page(speed)
    assert "What to set" in benchmark_page(speed)


def test_what_others_took_is_held_against_our_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("twinlens.benchmark.interference.affinity_cpu_count", lambda: 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    rates = [rate("fp32", 1, 50), replace(rate("fp32", 1, 50, "other 1.0"), low=1, high=100)]
    watch = SimpleNamespace(others=lambda: 1.0)
    on_cpu, on_cuda = (
        speed_module._measure_disturbance(watch, rates, torch.device(kind))
        for kind in ("cpu", "cuda")
    )
    assert len(on_cpu.reasons) == 1
    assert on_cpu.spread == 0  # by our own rates
    assert on_cuda.reasons == ()  # one thread and one core's work have room on two


def rate(precision: str, batch: int, per_second: float, library: str = TWINLENS) -> Throughput:
    return Throughput(
        library=library,
        precision=precision,
        tower="image",
        batch=batch,
        calls=3,
        per_second=per_second,
        low=per_second,
        high=per_second,
        p50_ms=1,
        p99_ms=1,
    )


def known(precision: str, cosine: float) -> PrecisionCost:
    cosines = {"image": cosine}
    return PrecisionCost(precision=precision, load_seconds=1, peak_memory=None, cosines=cosines)


def test_the_smallest_batch_near_the_best_rate_is_recommended():
    rates = [rate("fp32", 1, 50), rate("fp32", 8, 96), rate("fp32", 32, 100)]
    setting = recommend_setting("image", rates, [known("fp32", 1)], price_per_hour=3.6)
    assert setting is not None
    assert (setting.precision, setting.batch) == ("fp32", 8)
    assert setting.cost_per_million == pytest.approx(0.001 / 96 * 1e6)


def test_a_precision_far_from_float32_and_a_peer_are_not():
    rates = [rate("fp32", 8, 90), rate("int8", 8, 400), rate("fp32", 8, 500, "other 1.0")]
    standings = [known("fp32", 1), known("int8", 0.9989)]
    setting = recommend_setting("image", rates, standings, None)
    assert setting is not None
    assert (setting.precision, setting.cost_per_million) == ("fp32", None)
    assert recommend_setting("image", rates[1:], standings, None) is None


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_a_model_of_one_tower_has_that_one_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tower: str
):
    missing = {"text": None} if tower == "vision" else {"vision": None, "preprocess": None}
    save_model(CLIP(tiny_config(vocab_size=CLIP_VOCABULARY, **missing)), tmp_path)
    monkeypatch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *asked: None)
    monkeypatch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *seen: QUIET)
    asked = BenchmarkOptions(precisions=("fp32",), batches=(2,), seconds=1e-6)
    speed = run_benchmark(tmp_path, asked, model="half", device=CPU, progress=nothing)
    assert speed.towers == ["image" if tower == "vision" else "text"]
    assert len(speed.rates) == len(speed.recommended) == 1
    assert (speed.image_size is None, speed.tokens_per_text is None) == (
        tower == "text",
        tower == "vision",
    )
    assert is_balanced(benchmark_page(speed))


def test_pixels_are_encoded_as_images_are(lens: Embedder):
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = lens.embed_images([one.permute(1, 2, 0).numpy() for one in pixels])
    assert torch.allclose(embed_pixels(lens, pixels), torch.from_numpy(expected), atol=1e-6)


def test_memory_is_that_of_a_process_of_its_own(tiny_directory: Path):
    held = peak_memory_in_subprocess(tiny_directory, CPU, "fp32", 2)
    assert held is not None
    assert 1e8 < held < 2e9


def test_a_process_that_is_killed_had_too_little_memory(
    monkeypatch: pytest.MonkeyPatch, tiny_directory: Path
):
    monkeypatch.setattr(precision_costs, "_peak_memory_of_process", _die)
    assert peak_memory_in_subprocess(tiny_directory, CPU, "fp32", 2) is None


def _die(*asked: object) -> None:
    os._exit(9)


def test_precisions_of_a_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("twinlens.benchmark.speed.has_fast_bf16", lambda device: False)
    assert benchmark_precisions(CPU) == ("fp32", "int8")
    monkeypatch.setattr("twinlens.benchmark.speed.has_fast_bf16", lambda device: True)
    monkeypatch.setattr("twinlens.benchmark.speed.has_fast_fp16", lambda device: True)
    assert benchmark_precisions(torch.device("cuda")) == ("fp32", "bf16", "fp16")


@pytest.mark.parametrize(
    "wrong", [{"batches": (0,)}, {"batches": ()}, {"batches": (5000,)}, {"seconds": 0.0}]
)
def test_what_cannot_be_measured_is_refused(wrong: dict[str, object]):
    with pytest.raises(ConfigError, match="expected"):
        replace(ASKED, **wrong)


@pytest.mark.parametrize("price", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_price_is_more_than_nothing(price: float):
    with pytest.raises(ConfigError, match=r"price per hour: got .*, expected more than 0"):
        replace(ASKED, price=price)


def test_an_unknown_precision_suggests_a_close_one():
    with pytest.raises(UnknownNameError, match=r"did you mean .*'fp32'"):
        replace(ASKED, precisions=("fp33",))
