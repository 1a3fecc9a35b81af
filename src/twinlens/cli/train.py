# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens train`: train a model by a recipe on pairs of images and captions."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.given import check_output_directory
from twinlens.cli.options import (
    ImageColumn,
    Init,
    Json,
    Separator,
    Settings,
    Strict,
    Templates,
    TextColumn,
)
from twinlens.cli.output import log, log_left_out, print_json
from twinlens.errors import require
from twinlens.formatting import format_minutes

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.data.left_out import LeftOut
    from twinlens.data.sources.columns import Columns
    from twinlens.distributed.world import World
    from twinlens.train.evaluator import Evaluator
    from twinlens.train.log import LogCallback, LogEntry
    from twinlens.train.recipes.recipe import Recipe


def train(
    *,
    recipe: Annotated[str, typer.Option(help="What to train, such as icons-demo.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="SPEC", help="A directory, a table (CSV, TSV, JSON lines, Parquet) or tars."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory of the run; the model goes to OUT/model.")],
    init: Init = "",
    settings: Settings = None,
    val: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Labelled images to measure on.")
    ] = None,
    templates: Templates = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint in OUT.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    workers: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Processes that read images, for each that trains."),
    ] = 0,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    separator: Separator = None,
    strict: Strict = False,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Log to tensorboard, wandb or trackio, too."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model. Stopped at any moment, --resume goes on with the same result."""
    from twinlens.cli.data import open_dataset_with_progress
    from twinlens.config_io import apply_overrides
    from twinlens.data.sources.columns import Columns
    from twinlens.distributed.world import distributed_world
    from twinlens.train.left_out import read_left_out
    from twinlens.train.recipes.builtin import find_recipe
    from twinlens.train.trainer import fit

    chosen = apply_overrides(find_recipe(recipe, init), settings or [])
    columns = Columns(image=image_column, text=text_column, separator=separator)
    check_output_directory("--out", out)
    with distributed_world() as world:
        pairs = open_dataset_with_progress(
            data, shows_progress=world.is_main, columns=columns, splits=("train",)
        )
        needs_captions = chosen.needs_captions
        if world.is_main:
            left_out = pairs.all_left_out(needs_captions=needs_captions)
            log_left_out(left_out, f"left out of {pairs.name}")
        measured = None if val is None else open_validation_set(val, columns, world, strict=strict)
        evaluators = [make_evaluator(chosen, measured, templates or [])] if measured else []
        for evaluator in evaluators:
            evaluator.check(pairs)  # before anything is shown
        size = len(pairs.samples) - needs_captions * pairs.without_caption.total
        with report_progress(chosen, size, out, track or [], world) as (report, seen):
            model = fit(
                chosen,
                pairs,
                out,
                resume=resume,
                evaluators=evaluators,
                report=report,
                device=device,
                workers=workers,
                world=world,
                strict=strict,
            )
    if world.is_main:
        print_run_summary(model, seen, read_left_out(out), as_json=as_json)


def print_run_summary(
    model: Path, progress_log: list[LogEntry], left_out: dict[str, LeftOut], *, as_json: bool
) -> None:
    """Print the model's directory; with `--json` also the last log entry and what is left out."""
    from twinlens.train.left_out import DATASET_KEY, TRAINING_KEY

    log_left_out(left_out[DATASET_KEY], "left out of the data set")
    log_left_out(left_out[TRAINING_KEY], "replaced, or metadata passed over, in training")
    if as_json:
        reasons = {part: found.as_json() for part, found in left_out.items()}
        last = asdict(replace(progress_log[-1], left_out=None)) if progress_log else None
        print_json({"model": str(model), "last": last, "left_out": reasons})
    else:
        typer.echo(model)


@contextmanager
def report_progress(
    recipe: Recipe, num_pairs: int, out: Path, track: list[str], world: World
) -> Generator[tuple[LogCallback | None, list[LogEntry]]]:
    """Report progress to the terminal and to trackers, in the main process only.

    Yields the callback for `fit`, None in other processes, and the entries that it got. Trackers
    are closed however the run ends.
    """
    from twinlens.train.trackers import open_trackers, scalar_metrics

    seen: list[LogEntry] = []
    if not world.is_main:
        yield None, seen
        return
    trackers = open_trackers(track, out, recipe)
    log(f"{recipe.name}: {recipe.steps:,} steps of {recipe.batch_size:,} from {num_pairs:,} pairs")
    try:
        with progress_bar(seen) as show:

            def report(entry: LogEntry) -> None:
                show(entry)
                for tracker in trackers:
                    tracker.log(entry.step, scalar_metrics(entry))

            yield report, seen
    except KeyboardInterrupt:
        log(f"stopped: the same command with --resume goes on from the last checkpoint in {out}")
        raise
    finally:
        for tracker in trackers:
            tracker.close()


def open_validation_set(spec: str, columns: Columns, world: World, *, strict: bool) -> Dataset:
    """Open the data set of `--val` and log what it leaves out.

    Raises:
        DataError: It leaves something out, and `strict` is true.
    """
    from twinlens.cli.data import open_dataset_with_progress

    dataset = open_dataset_with_progress(
        spec, shows_progress=world.is_main, columns=columns, splits=("val", "test")
    )
    if strict:
        dataset.left_out.refuse(dataset.name)
    if world.is_main:
        log_left_out(dataset.left_out, f"left out of {dataset.name}")
    return dataset


def make_evaluator(recipe: Recipe, dataset: Dataset, templates: list[str]) -> Evaluator:
    """The evaluator of `--val`: the classifier head's accuracy if one is trained, else zero-shot.

    Raises:
        ConfigError: There are templates for a classifier head.
    """
    from twinlens.eval.evaluators import EVALUATORS, ZeroShotEvaluator

    task = "zeroshot_classification" if recipe.needs_captions else "classifier"
    if not templates:
        return EVALUATORS[task](dataset)
    require(task != "classifier", "--template", templates[0], "none: a classifier reads no words")
    return ZeroShotEvaluator(dataset, templates)


@contextmanager
def progress_bar(progress_log: list[LogEntry]) -> Generator[LogCallback]:
    """Show a progress bar on a terminal, else twenty lines and the measurements."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting")

        def report(progress: LogEntry) -> None:
            bar.update(
                task,
                completed=progress.step,
                total=progress.steps,
                description=format_progress(progress),
            )
            twentieth = progress.steps / 20
            last = progress_log[-1].step if progress_log else 0
            due = progress.step // twentieth > last // twentieth and not console.is_terminal
            if due or progress.metrics:
                console.print(f"step {progress.step}: {format_progress(progress)}", soft_wrap=True)
            progress_log.append(progress)

        yield report


def format_progress(progress: LogEntry) -> str:
    """Format loss, speed, learning rate, scale, time left and measurements in one line."""
    parts = [
        f"loss {progress.loss:.3f}",
        f"{progress.pairs_per_second:,.0f} pairs/s",
        f"lr {progress.lr:.1e}",
        f"scale {progress.scale:.1f}",
        f"{format_minutes(progress.seconds_left)} left",
    ]
    if progress.mfu is not None:
        parts.append(f"{progress.mfu:.0%} of the peak")
    counted = {
        "captions cut": progress.truncated_captions,
        "bad samples": progress.bad_samples,
        "steps skipped": progress.skipped_steps,
    }
    parts += [f"{count:,} {name}" for name, count in counted.items() if count]
    return ", ".join(
        parts + [f"{key} {value:.1%}" for key, value in (progress.metrics or {}).items()]
    )
