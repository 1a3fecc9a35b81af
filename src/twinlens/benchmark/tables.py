"""Results of a benchmark as rows of text, for the terminal and for the page."""

from __future__ import annotations

from twinlens.benchmark.records import BenchmarkResult, TowerName, format_dollars
from twinlens.formatting import format_gigabytes, format_si, format_three_digits

TOWER_NOUNS: dict[TowerName, str] = {"image": "images", "text": "texts"}

Table = tuple[list[str], list[list[str]]]
"""Names of columns, and rows of cells."""


def throughput_table(result: BenchmarkResult, tower: TowerName) -> Table:
    """The throughputs of a tower."""
    columns = ["Library", "Precision", "Batch", f"{TOWER_NOUNS[tower].capitalize()}/s"]
    columns += ["Low to high", "Median", "99%", "Of the peak"]
    rates = [rate for rate in result.rates if rate.tower == tower]
    rows = [
        [
            rate.library,
            rate.precision,
            str(rate.batch),
            format_three_digits(rate.per_second),
            f"{format_three_digits(rate.low)} to {format_three_digits(rate.high)}",
            f"{rate.p50_ms:,.1f} ms",
            f"{rate.p99_ms:,.1f} ms",
            "" if rate.ceiling_share is None else f"{rate.ceiling_share:.0%}",
            "" if rate.ratio is None else f"{rate.ratio:.2f}",
        ]
        for rate in rates
    ]
    if any(rate.ratio is not None for rate in rates):
        columns.append("Ours by theirs")
    return columns, [row[: len(columns)] for row in rows]


def precision_table(result: BenchmarkResult) -> Table:
    """The costs of each precision."""
    columns = ["Precision", *(f"Least cosine, {TOWER_NOUNS[tower]}" for tower in result.towers)]
    columns += ["First answer in", "Memory", "Matrix product"]
    rows = [
        [
            cost.precision,
            *(f"{cost.cosines[tower]:.6f}" for tower in result.towers),
            f"{cost.load_seconds:.2f} s",
            "not enough"
            if cost.peak_memory is None
            else f"{format_gigabytes(cost.peak_memory)} GB",
            f"{format_si(result.ceilings[cost.precision])}FLOP/s"
            if cost.precision in result.ceilings
            else "",
        ]
        for cost in result.precisions
    ]
    return columns, rows


def recommendations(result: BenchmarkResult) -> dict[str, str]:
    """The recommended setting of each tower in words, by what the tower embeds."""
    texts = {TOWER_NOUNS[tower]: "none of what was measured" for tower in result.towers}
    for one in result.recommended:
        noun = TOWER_NOUNS[one.tower]
        cost = (
            ""
            if one.cost_per_million is None
            else f", {format_dollars(one.cost_per_million)} a million"
        )
        texts[noun] = (
            f"{one.precision}, batches of {one.batch}: "
            f"{format_three_digits(one.per_second)} {noun}/s{cost}"
        )
    return texts
