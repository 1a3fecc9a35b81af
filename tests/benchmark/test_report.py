"""The page of a benchmark."""

from dataclasses import replace

from tests.markup import is_balanced, loads_nothing
from twinlens.benchmark.interference import Disturbance
from twinlens.benchmark.records import BenchmarkResult
from twinlens.benchmark.report import benchmark_page

BUSY = Disturbance(others=1.3, spread=0.4, reasons=("other work kept 1.3 of 2 cores busy",))


def test_the_page_stands_alone_and_draws_every_line(speed: BenchmarkResult):
    html = benchmark_page(speed)
    assert is_balanced(html)
    assert loads_nothing(html)
    drawn = [html.count(f'<g class="series s{colour}">') for colour in (0, 1)]
    assert drawn == [4, 2]  # float32 of ours and of the peer, bf16 of ours; of both towers
    assert "stroke-dasharray" in html
    assert "out of memory" in html
    assert "in the torch engine on" in html
    assert "random weights" not in html
    assert "random weights" in benchmark_page(replace(speed, random_weights=True))
    assert "none of what was measured" in benchmark_page(replace(speed, recommended=[]))


def test_a_quiet_machine_is_not_spoken_of_as_disturbed(speed: BenchmarkResult):
    assert speed.to_dict()["disturbed"] is False
    assert "disturbed" not in benchmark_page(speed)
    assert "What to set" in benchmark_page(speed)


def test_a_page_of_a_disturbed_machine_recommends_nothing(speed: BenchmarkResult):
    html = benchmark_page(replace(speed, disturbance=BUSY, recommended=[]))
    assert is_balanced(html)
    assert "The machine was disturbed" in html
    assert BUSY.reasons[0] in html
    assert "What to set" not in html
    assert "a million" not in html
