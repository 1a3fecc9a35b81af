# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""Speed as tables: precisions, rates, what to set and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from twinlens.cli.output import print_table
from twinlens.cli.plan_tables import format_gigabytes, format_si, format_three_digits

if TYPE_CHECKING:
    from twinlens.benchmark.precision_costs import PrecisionCost
    from twinlens.benchmark.records import BenchmarkResult, Throughput

_TOWER_NOUNS = {"image": "images", "text": "texts"}


def print_benchmark(result: BenchmarkResult) -> None:
    """Answer with what was measured."""
    typer.echo(_headline(result))
    _print_precisions(result)
    for tower in result.towers:
        typer.echo()
        _print_throughputs(
            [rate for rate in result.rates if rate.tower == tower], _TOWER_NOUNS[tower]
        )
    for failure in result.failures:
        where = f"{failure.precision}, {_TOWER_NOUNS[failure.tower]}, batch {failure.batch}"
        typer.echo(f"not measured: {failure.library}, {where}: {failure.reason}")
    typer.echo()
    for one in result.decode:
        rate, low, high = map(format_three_digits, (one.per_second, one.low, one.high))
        typer.echo(
            f"JPEG decoding, {one.decode}, {one.threads} threads: {rate} images/s ({low} to {high})"
        )
    _print_recommendations(result)


def _headline(result: BenchmarkResult) -> str:
    machine = result.machine
    weights = ", random weights" if result.random_weights else ""
    return (
        f"{result.model}{weights}, on {result.device}: {machine['device']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, torch {machine['torch']}\n"
    )


def _print_precisions(result: BenchmarkResult) -> None:
    towers = result.towers
    columns = ["Precision", *(f"Least cosine, {_TOWER_NOUNS[tower]}" for tower in towers)]
    columns += ["Loaded in", "Memory", "Matrix product"]
    print_table(columns, [_precision_row(one, result) for one in result.precisions])


def _precision_row(cost: PrecisionCost, result: BenchmarkResult) -> list[str]:
    ceiling = result.ceilings.get(cost.precision)
    return [
        cost.precision,
        *(f"{cost.cosines[tower]:.6f}" for tower in result.towers),
        f"{cost.load_seconds:.2f} s",
        "not enough" if cost.peak_memory is None else f"{format_gigabytes(cost.peak_memory)} GB",
        "" if ceiling is None else f"{format_si(ceiling)}FLOP/s",
    ]


def _print_throughputs(throughputs: Sequence[Throughput], noun: str) -> None:
    columns = ["Library", "Precision", "Batch", f"{noun.capitalize()}/s", "Low to high"]
    columns += ["Median", "99%", "Of the peak"]
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
        for rate in throughputs
    ]
    if any(rate.ratio is not None for rate in throughputs):
        columns.append("Ours by theirs")
    print_table(columns, [row[: len(columns)] for row in rows])


def _print_recommendations(result: BenchmarkResult) -> None:
    from twinlens.benchmark.records import format_dollars

    if result.is_disturbed:
        typer.echo("recommended: nothing, the machine was disturbed")
        return
    for one in result.recommended:
        things = _TOWER_NOUNS[one.tower]
        cost = (
            ""
            if one.cost_per_million is None
            else f", {format_dollars(one.cost_per_million)} a million"
        )
        typer.echo(
            f"recommended for {things}: {one.precision}, batches of {one.batch}: "
            f"{format_three_digits(one.per_second)} {things}/s{cost}"
        )
    for tower in result.towers:
        if tower not in {one.tower for one in result.recommended}:
            typer.echo(f"recommended for {_TOWER_NOUNS[tower]}: none of what was measured")
