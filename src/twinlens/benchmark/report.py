"""The page of a benchmark: recommended settings, throughput over latency, all measurements."""

from __future__ import annotations

from collections.abc import Sequence

from twinlens.benchmark.records import (
    TWINLENS,
    BenchmarkResult,
    Throughput,
    TowerName,
)
from twinlens.benchmark.tables import (
    TOWER_NOUNS,
    precision_table,
    recommendations,
    throughput_table,
)
from twinlens.html import (
    Series,
    bullet_list,
    chart_row,
    collapsible,
    definition_list,
    render_page,
    section,
    series_chart,
    table,
)

_PRECISION_COLOURS = {"fp32": 0, "bf16": 1, "fp16": 2, "int8": 3, "int8-weights": 4}
_DEFAULT_COLOUR = 5
_DASH_PATTERNS = ("", "6 3", "2 3")
"""The solid line is ours; baselines get the others in turn."""


def benchmark_page(result: BenchmarkResult) -> str:
    """Render the page of a benchmark as HTML."""
    drawn = chart_row(*(_throughput_chart(result, tower) for tower in result.towers))
    details = [
        collapsible(f"All rates of {TOWER_NOUNS[tower]}", _throughput_table(result, tower))
        for tower in result.towers
    ]
    advice = {f"For {noun}": text for noun, text in recommendations(result).items()}
    first = (
        section(_DISTURBED_HEADING, bullet_list(result.disturbance.reasons), note=_DISTURBED_NOTE)
        if result.is_disturbed
        else section("What to set", definition_list(advice))
    )
    sections = [
        first,
        section("Throughput over latency", drawn, *details, note=_CHART_NOTE),
        section("Precisions", table(*precision_table(result)), note=_PRECISIONS_NOTE),
        section("The machine", definition_list(_machine_facts(result))),
        section("How it was measured", definition_list(_method_facts(result))),
    ]
    return render_page(f"The speed of {result.model}", _lead(result), *sections)


_DISTURBED_HEADING = "The machine was disturbed"
_DISTURBED_NOTE = (
    "The figures below are those of a machine that did other work meanwhile. Nothing is "
    "recommended from them, and no cost is worked out: measure again when it is quiet."
)
_CHART_NOTE = (
    "Each point is a batch size, written beside it: the median time that a batch takes, and how "
    "many images or texts a second that makes."
)
_PRECISIONS_NOTE = (
    "The least cosine with float32 on the same images and texts; a precision below 0.999 is not "
    "recommended. Memory is the most that a process of its own held with the largest batch."
)


def _lead(result: BenchmarkResult) -> str:
    weights = " with random weights, which are as fast as any," if result.random_weights else ""
    rates = [
        f"{one.per_second:,.0f} {TOWER_NOUNS[one.tower]} a second" for one in result.recommended
    ]
    does = f" does {' and '.join(rates)}" if rates else " was measured"
    if result.is_disturbed:
        does = " was measured while other work disturbed it,"
    device = result.machine["device"]
    return f"{result.model}{weights}{does} in the {result.engine} engine on {device}."


def _throughput_chart(result: BenchmarkResult, tower: TowerName) -> str:
    rates = [rate for rate in result.rates if rate.tower == tower]
    libraries = list(dict.fromkeys(rate.library for rate in rates))
    lines = dict.fromkeys((rate.library, rate.precision) for rate in rates)
    series = [
        _latency_series(
            [rate for rate in rates if (rate.library, rate.precision) == line],
            _DASH_PATTERNS[libraries.index(line[0]) % len(_DASH_PATTERNS)],
        )
        for line in lines
    ]
    noun = TOWER_NOUNS[tower]
    return series_chart(
        series, title=noun.capitalize(), x_label="ms a batch", y_label=f"{noun} a second"
    )


def _latency_series(rates: Sequence[Throughput], dashes: str) -> Series:
    library, precision = rates[0].library, rates[0].precision
    return Series(
        name=precision if library == TWINLENS else f"{library}, {precision}",
        points=[(rate.p50_ms, rate.per_second) for rate in rates],
        labels=[str(rate.batch) for rate in rates],
        colour_index=_PRECISION_COLOURS.get(precision, _DEFAULT_COLOUR),
        dash_pattern=dashes,
    )


def _throughput_table(result: BenchmarkResult, tower: TowerName) -> str:
    """All throughputs of a tower, and those that could not be measured with the reason."""
    columns, rows = throughput_table(result, tower)
    failures = [
        [one.library, one.precision, str(one.batch), one.reason, *[""] * (len(columns) - 4)]
        for one in result.failures
        if one.tower == tower
    ]
    return table(columns, rows + failures)


def _machine_facts(result: BenchmarkResult) -> dict[str, object]:
    facts: dict[str, object] = {name.capitalize(): value for name, value in result.machine.items()}
    return facts | {
        f"JPEG decoding, {one.decode}": f"{one.per_second:,.0f} images/s on {one.threads} threads"
        for one in result.decode
    }


def _method_facts(result: BenchmarkResult) -> dict[str, object]:
    facts: dict[str, object] = {"Time for each rate": f"{result.asked.seconds:g} s, in turn"}
    if result.image_size is not None:
        side = result.image_size
        facts["Images"] = f"noise of {side} x {side} pixels, on the device"
    if result.tokens_per_text is not None:
        facts["Texts"] = (
            f"strings of {result.tokens_per_text:.1f} tokens on average, the tokenizer included"
        )
    others = result.disturbance.others
    if others is not None:
        facts["Other work meanwhile"] = f"{others:.1f} cores"
    facts["Repeats of a call"] = f"{result.disturbance.spread:.0%} apart, between their quartiles"
    if result.asked.price is not None:
        facts["Price of an hour"] = f"${result.asked.price:g}"
    return facts
