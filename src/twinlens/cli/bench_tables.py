"""Results of a benchmark as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from twinlens.cli.output import print_table
from twinlens.formatting import format_three_digits

if TYPE_CHECKING:
    from twinlens.benchmark.records import BenchmarkResult


def print_benchmark(result: BenchmarkResult) -> None:
    """Print the measurements, and what is recommended."""
    from twinlens.benchmark.tables import (  # noqa: PLC0415  --help stays instant
        TOWER_NOUNS,
        precision_table,
        throughput_table,
    )

    typer.echo(_headline(result))
    print_table(*precision_table(result))
    for tower in result.towers:
        typer.echo()
        print_table(*throughput_table(result, tower))
    for failure in result.failures:
        case = f"{failure.precision}, {TOWER_NOUNS[failure.tower]}, batch {failure.batch}"
        typer.echo(f"not measured: {failure.library}, {case}: {failure.reason}")
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
        f"{result.model}{weights}, {result.engine} {machine[result.engine]} on {result.device}: "
        f"{machine['device']}, {machine['cores']} cores, {machine['threads']} threads\n"
    )


def _print_recommendations(result: BenchmarkResult) -> None:
    from twinlens.benchmark.tables import recommendations  # noqa: PLC0415

    if result.is_disturbed:
        typer.echo("recommended: nothing, the machine was disturbed")
        return
    for noun, text in recommendations(result).items():
        typer.echo(f"recommended for {noun}: {text}")
