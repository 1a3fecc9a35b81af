# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""Speed as tables: precisions, rates, what to set and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from twinlens.cli.output import print_table
from twinlens.cli.plan_tables import gigabytes, short, si

if TYPE_CHECKING:
    from twinlens.benchmark.precision_costs import Standing
    from twinlens.benchmark.records import Rate, Speed

_THINGS = {"image": "images", "text": "texts"}


def print_speed(speed: Speed) -> None:
    """Answer with what was measured."""
    typer.echo(_headline(speed))
    _print_precisions(speed)
    for tower in speed.towers:
        typer.echo()
        _print_rates([rate for rate in speed.rates if rate.tower == tower], _THINGS[tower])
    for failure in speed.failures:
        where = f"{failure.precision}, {_THINGS[failure.tower]}, batch {failure.batch}"
        typer.echo(f"not measured: {failure.library}, {where}: {failure.reason}")
    typer.echo()
    for one in speed.decode:
        rate = f"{short(one.per_second)} images/s ({short(one.low)} to {short(one.high)})"
        typer.echo(f"JPEG decoding, {one.decode}, {one.threads} threads: {rate}")
    _print_settings(speed)


def _headline(speed: Speed) -> str:
    machine = speed.machine
    weights = ", random weights" if speed.random_weights else ""
    return (
        f"{speed.model}{weights}, on {speed.device}: {machine['device']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, torch {machine['torch']}\n"
    )


def _print_precisions(speed: Speed) -> None:
    towers = speed.towers
    columns = ["Precision", *(f"Least cosine, {_THINGS[tower]}" for tower in towers)]
    columns += ["Loaded in", "Memory", "Matrix product"]
    print_table(columns, [_standing(one, speed) for one in speed.precisions])


def _standing(one: Standing, speed: Speed) -> list[str]:
    ceiling = speed.ceilings.get(one.precision)
    return [
        one.precision,
        *(f"{one.cosines[tower]:.6f}" for tower in speed.towers),
        f"{one.load_seconds:.2f} s",
        "not enough" if one.peak_memory is None else f"{gigabytes(one.peak_memory)} GB",
        "" if ceiling is None else f"{si(ceiling)}FLOP/s",
    ]


def _print_rates(rates: Sequence[Rate], things: str) -> None:
    columns = ["Library", "Precision", "Batch", f"{things.capitalize()}/s", "Low to high"]
    columns += ["Median", "99%", "Of the peak"]
    rows = [
        [
            rate.library,
            rate.precision,
            str(rate.batch),
            short(rate.per_second),
            f"{short(rate.low)} to {short(rate.high)}",
            f"{rate.p50_ms:,.1f} ms",
            f"{rate.p99_ms:,.1f} ms",
            "" if rate.ceiling_share is None else f"{rate.ceiling_share:.0%}",
            "" if rate.ratio is None else f"{rate.ratio:.2f}",
        ]
        for rate in rates
    ]
    if any(rate.ratio is not None for rate in rates):
        columns.append("Ours by theirs")
    print_table(columns, [row[: len(columns)] for row in rows])


def _print_settings(speed: Speed) -> None:
    from twinlens.benchmark.records import dollars

    if speed.disturbed:
        typer.echo("recommended: nothing, the machine was disturbed")
        return
    for one in speed.recommended:
        things = _THINGS[one.tower]
        cost = (
            "" if one.cost_per_million is None else f", {dollars(one.cost_per_million)} a million"
        )
        typer.echo(
            f"recommended for {things}: {one.precision}, batches of {one.batch}: "
            f"{short(one.per_second)} {things}/s{cost}"
        )
    for tower in speed.towers:
        if tower not in {one.tower for one in speed.recommended}:
            typer.echo(f"recommended for {_THINGS[tower]}: none of what was measured")
