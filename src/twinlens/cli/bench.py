# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens bench`: speed and memory of a model on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from twinlens.cli.given import check_output_file
from twinlens.cli.options import Device, Engine, Json, comma_separated, parse_counts
from twinlens.cli.output import log, print_json, progress_reporter, write_text
from twinlens.errors import ConfigError, require_known

if TYPE_CHECKING:
    from twinlens.benchmark.records import BenchmarkOptions, BenchmarkResult, BenchmarkTarget
    from twinlens.types import EngineName, Precision


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
    engine: Engine = "auto",
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
    from twinlens.benchmark.engines import choose_engine, fast_precisions
    from twinlens.benchmark.records import MAX_BATCH_SIZE, BenchmarkOptions

    batches = parse_counts("--batch", batch, MAX_BATCH_SIZE)
    asked = ["auto"] if precision == "all" else comma_separated(precision)
    precisions = cast("tuple[Precision, ...]", tuple(asked))
    chosen, chosen_device = choose_engine(engine, device, precisions)
    options = BenchmarkOptions(
        precisions=fast_precisions(chosen, chosen_device) if precision == "all" else precisions,
        batches=batches,
        seconds=seconds,
        price=price_per_hour,
    )
    result = _run_benchmark(model, options, chosen, chosen_device, comma_separated(compare))
    _write_result(result, out, html, as_json=as_json)


def _run_benchmark(
    model: str, options: BenchmarkOptions, engine: EngineName, device: str, libraries: list[str]
) -> BenchmarkResult:
    from twinlens.benchmark.speed import run_benchmark

    with (
        open_checkpoint_path(model, engine) as (path, is_random),
        progress_reporter(f"measuring {model}") as progress,
    ):
        return run_benchmark(
            path,
            options,
            model=model,
            engine=engine,
            device=device,
            has_random_weights=is_random,
            baselines=_open_baselines(path, options, device, libraries) if libraries else [],
            progress=progress,
        )


def _open_baselines(
    path: Path, options: BenchmarkOptions, device: str, libraries: list[str]
) -> list[BenchmarkTarget]:
    """Open the model in other libraries, which compute in torch whatever our engine is."""
    from twinlens.benchmark.records import BASELINES

    for name in libraries:  # before torch is asked for
        require_known("baseline", name, BASELINES)
    from twinlens.benchmark.baselines import open_baselines
    from twinlens.embed.loading import load

    float32 = load(path, engine="torch", device=device, precision="fp32")
    return open_baselines(libraries, float32, options.precisions)


@contextmanager
def open_checkpoint_path(model: str, engine: EngineName) -> Generator[tuple[Path, bool]]:
    """Open a model's path; True if it is a temporary checkpoint with random weights.

    An architecture's name gets such a checkpoint for the time of the block; what OpenVINO compiled
    of it is removed too.
    """
    from twinlens.benchmark.synthetic_inputs import ARCHITECTURES, write_random_checkpoint
    from twinlens.hub.resolve import resolve

    if model not in ARCHITECTURES or Path(model).exists():
        yield resolve(model), False
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / model
        write_random_checkpoint(model, path)
        try:
            yield path, True
        finally:
            if engine == "openvino":
                _remove_compiled(path)


def _remove_compiled(path: Path) -> None:
    from twinlens.inference.compiled_cache import default_compiled_dir, remove_compiled

    with suppress(ConfigError):  # without a home directory nothing was cached
        remove_compiled(default_compiled_dir(), path)


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
