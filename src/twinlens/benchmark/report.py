"""The page of a speed measurement: what to set, throughput over latency, every figure."""

from __future__ import annotations

from collections.abc import Sequence

from twinlens.benchmark.records import OURS, Rate, Speed, Tower, dollars
from twinlens.html import Series, charts, facts, folded, page, section, series_chart, table

_THINGS = {"image": "images", "text": "texts"}
_COLOURS = {"fp32": 0, "bf16": 1, "fp16": 2, "int8": 3, "int8-weights": 4}
_OTHER_COLOUR = 5
_DASHES = ("", "6 3", "2 3")
"""Ours is the whole line, then the peers in turn."""


def speed_page(speed: Speed) -> str:
    """The page's HTML."""
    drawn = charts(*(_chart(speed, tower) for tower in speed.towers))
    details = [
        folded(f"All rates of {_THINGS[tower]}", _rates(speed, tower)) for tower in speed.towers
    ]
    first = (
        section(_DISTURBED, facts(_disturbed(speed)), note=_DISTURBED_NOTE)
        if speed.disturbed
        else section("What to set", facts(_recommended(speed)))
    )
    sections = [
        first,
        section("Throughput over latency", drawn, *details, note=_CHART_NOTE),
        section("Precisions", _precisions(speed), note=_PRECISIONS_NOTE),
        section("The machine", facts(_machine(speed))),
        section("How it was measured", facts(_measured(speed))),
    ]
    return page(f"The speed of {speed.model}", _lead(speed), *sections)


_DISTURBED = "The machine was disturbed"
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


def _lead(speed: Speed) -> str:
    weights = " with random weights, which are as fast as any," if speed.random_weights else ""
    rates = [f"{one.per_second:,.0f} {_THINGS[one.tower]} a second" for one in speed.recommended]
    does = f" does {' and '.join(rates)}" if rates else " was measured"
    if speed.disturbed:
        does = " was measured while other work disturbed it,"
    return f"{speed.model}{weights}{does} on {speed.machine['device']}."


def _disturbed(speed: Speed) -> dict[str, str]:
    reasons = speed.disturbance.reasons
    return {f"Reason {number}": reason for number, reason in enumerate(reasons, 1)}


def _recommended(speed: Speed) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in speed.recommended:
        things = _THINGS[one.tower]
        found[f"For {things}"] = (
            f"{one.precision}, batches of {one.batch}: {one.per_second:,.0f} {things}/s"
        )
        if one.cost_per_million is not None:
            found[f"Cost of a million {things}"] = dollars(one.cost_per_million)
    for tower in speed.towers:
        found.setdefault(f"For {_THINGS[tower]}", "none of what was measured")
    return found


def _chart(speed: Speed, tower: Tower) -> str:
    rates = [rate for rate in speed.rates if rate.tower == tower]
    libraries = list(dict.fromkeys(rate.library for rate in rates))
    lines = dict.fromkeys((rate.library, rate.precision) for rate in rates)
    series = [
        _series(
            [rate for rate in rates if (rate.library, rate.precision) == line],
            _DASHES[libraries.index(line[0]) % len(_DASHES)],
        )
        for line in lines
    ]
    things = _THINGS[tower]
    return series_chart(
        series, title=things.capitalize(), x_label="ms a batch", y_label=f"{things} a second"
    )


def _series(rates: Sequence[Rate], dashes: str) -> Series:
    library, precision = rates[0].library, rates[0].precision
    return Series(
        name=precision if library == OURS else f"{library}, {precision}",
        points=[(rate.p50_ms, rate.per_second) for rate in rates],
        labels=[str(rate.batch) for rate in rates],
        colour=_COLOURS.get(precision, _OTHER_COLOUR),
        dashes=dashes,
    )


def _rates(speed: Speed, tower: Tower) -> str:
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
        for rate in speed.rates
        if rate.tower == tower
    ]
    rows += [
        [one.library, one.precision, str(one.batch), one.reason, "", "", "", "", ""]
        for one in speed.failures
        if one.tower == tower
    ]
    return table(columns, rows)


def _precisions(speed: Speed) -> str:
    columns = ["Precision", *(f"Least cosine, {_THINGS[tower]}" for tower in speed.towers)]
    columns += ["Loaded in", "Memory", "Matrix product"]
    rows = [
        [
            one.precision,
            *(f"{one.cosines[tower]:.6f}" for tower in speed.towers),
            f"{one.load_seconds:.2f} s",
            "not enough" if one.peak_memory is None else f"{one.peak_memory / 1e9:,.2f} GB",
            f"{speed.ceilings[one.precision] / 1e9:,.0f} GFLOP/s"
            if one.precision in speed.ceilings
            else "",
        ]
        for one in speed.precisions
    ]
    return table(columns, rows)


def _machine(speed: Speed) -> dict[str, object]:
    found: dict[str, object] = {name.capitalize(): value for name, value in speed.machine.items()}
    return found | {
        f"JPEG decoding, {one.decode}": f"{one.per_second:,.0f} images/s on {one.threads} threads"
        for one in speed.decode
    }


def _measured(speed: Speed) -> dict[str, object]:
    found: dict[str, object] = {"Time for each rate": f"{speed.asked.seconds:g} s, in turn"}
    if speed.image_size is not None:
        side = speed.image_size
        found["Images"] = f"noise of {side} x {side} pixels, on the device"
    if speed.tokens_per_text is not None:
        found["Texts"] = (
            f"strings of {speed.tokens_per_text:.1f} tokens on average, the tokenizer included"
        )
    others = speed.disturbance.others
    if others is not None:
        found["Other work meanwhile"] = f"{others:.1f} cores"
    found["Repeats of a call"] = f"{speed.disturbance.spread:.0%} apart, between their quartiles"
    if speed.asked.price is not None:
        found["Price of an hour"] = f"${speed.asked.price:g}"
    return found
