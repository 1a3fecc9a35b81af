"""The page of a speed measurement: what to set, throughput over latency, every figure."""

from __future__ import annotations

from collections.abc import Sequence

from twinlens.benchmark.records import (
    TWINLENS,
    BenchmarkResult,
    Throughput,
    TowerName,
    format_dollars,
)
from twinlens.html import (
    Series,
    chart_row,
    collapsible,
    definition_list,
    render_page,
    section,
    series_chart,
    table,
)

_TOWER_NOUNS = {"image": "images", "text": "texts"}
_PRECISION_COLOURS = {"fp32": 0, "bf16": 1, "fp16": 2, "int8": 3, "int8-weights": 4}
_DEFAULT_COLOUR = 5
_DASH_PATTERNS = ("", "6 3", "2 3")
"""Ours is the whole line, then the peers in turn."""


def benchmark_page(result: BenchmarkResult) -> str:
    """The page's HTML."""
    drawn = chart_row(*(_throughput_chart(result, tower) for tower in result.towers))
    details = [
        collapsible(f"All rates of {_TOWER_NOUNS[tower]}", _throughput_table(result, tower))
        for tower in result.towers
    ]
    first = (
        section(
            _DISTURBED_HEADING, definition_list(_disturbance_facts(result)), note=_DISTURBED_NOTE
        )
        if result.is_disturbed
        else section("What to set", definition_list(_recommendation_facts(result)))
    )
    sections = [
        first,
        section("Throughput over latency", drawn, *details, note=_CHART_NOTE),
        section("Precisions", _precision_table(result), note=_PRECISIONS_NOTE),
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
        f"{one.per_second:,.0f} {_TOWER_NOUNS[one.tower]} a second" for one in result.recommended
    ]
    does = f" does {' and '.join(rates)}" if rates else " was measured"
    if result.is_disturbed:
        does = " was measured while other work disturbed it,"
    return f"{result.model}{weights}{does} on {result.machine['device']}."


def _disturbance_facts(result: BenchmarkResult) -> dict[str, str]:
    reasons = result.disturbance.reasons
    return {f"Reason {number}": reason for number, reason in enumerate(reasons, 1)}


def _recommendation_facts(result: BenchmarkResult) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in result.recommended:
        things = _TOWER_NOUNS[one.tower]
        found[f"For {things}"] = (
            f"{one.precision}, batches of {one.batch}: {one.per_second:,.0f} {things}/s"
        )
        if one.cost_per_million is not None:
            found[f"Cost of a million {things}"] = format_dollars(one.cost_per_million)
    for tower in result.towers:
        found.setdefault(f"For {_TOWER_NOUNS[tower]}", "none of what was measured")
    return found


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
    things = _TOWER_NOUNS[tower]
    return series_chart(
        series, title=things.capitalize(), x_label="ms a batch", y_label=f"{things} a second"
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
    columns = ["Library", "Precision", "Batch", "A second", "Quartiles", "Median ms", "99% ms"]
    columns += ["Of the peak", "Ours by theirs"]
    rows = [
        [
            rate.library,
            rate.precision,
            str(rate.batch),
            f"{rate.per_second:,.1f}",
            f"{rate.low:,.1f} to {rate.high:,.1f}",
            f"{rate.p50_ms:,.2f}",
            f"{rate.p99_ms:,.2f}",
            "" if rate.ceiling_share is None else f"{rate.ceiling_share:.0%}",
            "" if rate.ratio is None else f"{rate.ratio:.2f}",
        ]
        for rate in result.rates
        if rate.tower == tower
    ]
    rows += [
        [one.library, one.precision, str(one.batch), one.reason, "", "", "", "", ""]
        for one in result.failures
        if one.tower == tower
    ]
    return table(columns, rows)


def _precision_table(result: BenchmarkResult) -> str:
    columns = ["Precision", *(f"Least cosine, {_TOWER_NOUNS[tower]}" for tower in result.towers)]
    columns += ["Loaded in", "Memory", "Matrix product"]
    rows = [
        [
            one.precision,
            *(f"{one.cosines[tower]:.6f}" for tower in result.towers),
            f"{one.load_seconds:.2f} s",
            "not enough" if one.peak_memory is None else f"{one.peak_memory / 1e9:,.2f} GB",
            f"{result.ceilings[one.precision] / 1e9:,.0f} GFLOP/s"
            if one.precision in result.ceilings
            else "",
        ]
        for one in result.precisions
    ]
    return table(columns, rows)


def _machine_facts(result: BenchmarkResult) -> dict[str, object]:
    found: dict[str, object] = {name.capitalize(): value for name, value in result.machine.items()}
    return found | {
        f"JPEG decoding, {one.decode}": f"{one.per_second:,.0f} images/s on {one.threads} threads"
        for one in result.decode
    }


def _method_facts(result: BenchmarkResult) -> dict[str, object]:
    found: dict[str, object] = {"Time for each rate": f"{result.asked.seconds:g} s, in turn"}
    if result.image_size is not None:
        side = result.image_size
        found["Images"] = f"noise of {side} x {side} pixels, on the device"
    if result.tokens_per_text is not None:
        found["Texts"] = (
            f"strings of {result.tokens_per_text:.1f} tokens on average, the tokenizer included"
        )
    others = result.disturbance.others
    if others is not None:
        found["Other work meanwhile"] = f"{others:.1f} cores"
    found["Repeats of a call"] = f"{result.disturbance.spread:.0%} apart, between their quartiles"
    if result.asked.price is not None:
        found["Price of an hour"] = f"${result.asked.price:g}"
    return found
