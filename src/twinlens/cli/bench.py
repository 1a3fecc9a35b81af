# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens bench`: speed and memory of a model on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from twinlens.cli.given import check_output_file
from twinlens.cli.options import Device, Json, comma_separated, parse_counts
from twinlens.cli.output import log, print_json, progress_reporter, write_text
from twinlens.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from twinlens.benchmark.records import BenchmarkOptions, BenchmarkResult
    from twinlens.types import Precision


def bench(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model, or an architecture: ViT-B-32.")
    ] = "icons",
    *,
    precision: Annotated[str, typer.Option(help="fp32,bf16,...; all that are fast here.")] = "all",
    batch: Annotated[str, typer.Option(help="Images or texts at once.")] = "1,8,32,64",
    seconds: Annotated[float, typer.Option(help="For each rate.")] = 0.7,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Of this machine, in US dollars.")
    ] = None,
    compare: Annotated[str, typer.Option(help="Also measure open_clip,transformers.")] = "",
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Write the JSON here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page here.")] = None,
    as_json: Json = False,
) -> None:
    """Measure speed: by precision and batch, with memory, nearness to float32 and cost."""
    check_output_file("--out", out)
    check_output_file("--html", html)
    if out is not None and html is not None and out.absolute() == html.absolute():
        raise ConfigError(f"--out and --html: got {out} twice, expected two files")
    from twinlens.benchmark.records import MAX_BATCH_SIZE, BenchmarkOptions
    from twinlens.benchmark.speed import benchmark_precisions
    from twinlens.model.precision import pick_device

    batches = parse_counts("--batch", batch, MAX_BATCH_SIZE)
    chosen_device = pick_device(device)
    options = BenchmarkOptions(
        precisions=benchmark_precisions(chosen_device)
        if precision == "all"
        else cast("tuple[Precision, ...]", tuple(comma_separated(precision))),
        batches=batches,
        seconds=seconds,
        price=price_per_hour,
    )
    result = _run_benchmark(model, options, chosen_device, comma_separated(compare))
    _write_result(result, out, html, as_json=as_json)


def _run_benchmark(
    model: str, options: BenchmarkOptions, device: torch.device, libraries: list[str]
) -> BenchmarkResult:
    from twinlens.benchmark.baselines import open_baselines
    from twinlens.benchmark.speed import run_benchmark
    from twinlens.embed.loading import load

    with (
        open_checkpoint_path(model) as (path, is_random),
        progress_reporter(f"measuring {model}") as progress,
    ):
        float32 = (
            load(path, engine="torch", device=str(device), precision="fp32") if libraries else None
        )
        return run_benchmark(
            path,
            options,
            model=model,
            device=device,
            has_random_weights=is_random,
            baselines=open_baselines(libraries, float32, options.precisions) if float32 else [],
            progress=progress,
        )


@contextmanager
def open_checkpoint_path(model: str) -> Generator[tuple[Path, bool]]:
    """Open a model's path; True if it is a temporary checkpoint with random weights.

    An architecture's name gets such a checkpoint for the time of the block.
    """
    from twinlens.benchmark.synthetic_inputs import ARCHITECTURES, write_random_checkpoint
    from twinlens.hub.resolve import resolve

    if model not in ARCHITECTURES or Path(model).exists():
        yield resolve(model), False
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / model
        write_random_checkpoint(model, path)
        yield path, True


def _write_result(
    result: BenchmarkResult, out: Path | None, html: Path | None, *, as_json: bool
) -> None:
    from twinlens.benchmark.report import benchmark_page
    from twinlens.cli.bench_tables import print_benchmark

    if as_json:
        print_json(result.to_dict())
    else:
        print_benchmark(result)
    if out is not None:
        write_text(out, json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
    if html is not None:
        write_text(html, benchmark_page(result))
    for reason in result.disturbance.reasons:
        log(f"warning: the machine was disturbed, and nothing is recommended: {reason}")
    for path in (out, html):
        if path is not None:
            log(f"wrote {path}")
