# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens train`: from a recipe and pairs to a model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.given import check_directory
from twinlens.cli.options import ImageColumn, Separator, Strict, TextColumn, log_left_out
from twinlens.cli.output import log, print_json
from twinlens.errors import ConfigError

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.data.left_out import LeftOut
    from twinlens.data.sources.columns import Columns
    from twinlens.distributed.world import World
    from twinlens.train.log import Progress, Reporter
    from twinlens.train.recipes.recipe import Recipe
    from twinlens.train.trackers import Tracker
    from twinlens.train.trainer import Evaluator


def train(
    *,
    recipe: Annotated[str, typer.Option(help="What to train, such as icons-demo.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="A directory, a table (CSV, TSV, JSON lines, Parquet) or tars."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run; the model goes to OUT/model.")
    ] = None,
    init: Annotated[
        str, typer.Option(metavar="MODEL", help="The model to start from, for fine-tuning.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as optim.lr=0.001."),
    ] = None,
    val: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Labelled images to measure on.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="A sentence with {} for --val; several are averaged.")
    ] = None,
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
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what the run would take, and run nothing.")
    ] = False,
    devices: Annotated[
        str, typer.Option(metavar="NxNAME,...", help="Of --plan, as 64xA100-80,8xH100.")
    ] = "auto",
    mfu: Annotated[float, typer.Option(help="Of --plan: share of the peak that is reached.")] = 0.4,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Of --plan: of one device, in dollars.")
    ] = None,
    caption_tokens: Annotated[
        float, typer.Option(help="Of --plan: mean length of a caption, start and end counted.")
    ] = 16.0,
    sample_kb: Annotated[
        float, typer.Option(help="Of --plan: mean size of a sample, in 1,000 bytes.")
    ] = 40.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a model. Stopped at any moment, --resume goes on with the same result."""
    from twinlens.cli.data import open_shown
    from twinlens.config_io import override
    from twinlens.data.sources.columns import Columns
    from twinlens.distributed.world import joined_world
    from twinlens.train.left_out import known, read_left_out
    from twinlens.train.recipes.builtin import recipe_named
    from twinlens.train.trainer import fit

    chosen = override(recipe_named(recipe, init), settings or [])
    if plan:
        assumed = (caption_tokens, mfu, price_per_hour, sample_kb)
        show_plan(chosen, devices, assumed, as_json=as_json)
        return
    if data is None or out is None:
        raise ConfigError("--data and --out: got one or none, expected both; --plan needs neither")
    columns = Columns(image=image_column, text=text_column, separator=separator)
    check_directory("--out", out)
    with joined_world() as world:
        pairs = open_shown(data, shows=world.leads, columns=columns, splits=("train",))
        needs_captions = chosen.adapt.head == "none"
        if world.leads:
            log_left_out(known(pairs, needs_captions=needs_captions), f"left out of {pairs.name}")
        measured = None if val is None else open_val(val, columns, world, strict=strict)
        evaluate = measured and evaluator(chosen, pairs, measured, template or [], world)
        size = len(pairs.samples) - needs_captions * pairs.without_caption.total
        with reporting(chosen, size, out, track or [], world) as (report, seen):
            model = fit(
                chosen,
                pairs,
                out,
                resume=resume,
                evaluate=evaluate,
                report=report,
                device=device,
                workers=workers,
                world=world,
                strict=strict,
            )
    if world.leads:
        answer(model, seen, read_left_out(out), as_json=as_json)


def answer(
    model: Path, seen: list[Progress], left_out: dict[str, LeftOut], *, as_json: bool
) -> None:
    """Where the model is, how its run ended, and what was left out."""
    from twinlens.train.left_out import DATA_SET, TRAINING

    log_left_out(left_out[DATA_SET], "left out of the data set")
    log_left_out(left_out[TRAINING], "replaced, or metadata passed over, in training")
    if as_json:
        reasons = {part: found.as_json() for part, found in left_out.items()}
        last = asdict(replace(seen[-1], left_out=None)) if seen else None
        print_json({"model": str(model), "last": last, "left_out": reasons})
    else:
        typer.echo(model)


@contextmanager
def reporting(
    recipe: Recipe, pairs: int, out: Path, track: list[str], world: World
) -> Generator[tuple[Reporter | None, list[Progress]]]:
    """What the leading process shows and tells trackers, and the lines of its log."""
    from twinlens.train.trackers import open_trackers

    seen: list[Progress] = []
    if not world.leads:
        yield None, seen
        return
    trackers = open_trackers(track, out, recipe)
    log(f"{recipe.name}: {recipe.steps:,} steps of {recipe.batch_size:,} from {pairs:,} pairs")
    try:
        with progress_line(seen) as show, tracking(trackers, show) as report:
            yield report, seen
    except KeyboardInterrupt:
        log(f"stopped: the same command with --resume goes on from the last checkpoint in {out}")
        raise


def show_plan(
    recipe: Recipe,
    devices: str,
    assumed: tuple[float, float, float | None, float],
    *,
    as_json: bool,
) -> None:
    """Answer with what a recipe would take."""
    from twinlens.cli.plan_tables import print_plan
    from twinlens.train.planning.devices import parse_groups
    from twinlens.train.planning.plan import Assumptions, make_plan

    tokens, mfu, price, sample_kb = assumed
    assumptions = Assumptions(caption_tokens=tokens, mfu=mfu, price=price, sample_kb=sample_kb)
    print_plan(make_plan(recipe, parse_groups(devices), assumptions), as_json=as_json)


def open_val(spec: str, columns: Columns, world: World, *, strict: bool) -> Dataset:
    """The data set of `--val`, and what it leaves out.

    Raises:
        DataError: It leaves out something, and `strict` refuses that.
    """
    from twinlens.cli.data import open_shown

    dataset = open_shown(spec, shows=world.leads, columns=columns, splits=("val", "test"))
    if strict:
        dataset.left_out.refuse(dataset.name)
    if world.leads:
        log_left_out(dataset.left_out, f"left out of {dataset.name}")
    return dataset


def evaluator(
    recipe: Recipe, pairs: Dataset, dataset: Dataset, templates: list[str], world: World
) -> Evaluator:
    """What a recipe's model is measured by: its own classifier if it trains one, else its words."""
    if recipe.adapt.head == "none":
        return zero_shot_evaluator(dataset, templates, world)
    if templates:
        raise ConfigError(
            f"--template: got {templates[0]!r}, expected none: a classifier reads no words"
        )
    return classifier_evaluator(dataset, pairs, world)


def zero_shot_evaluator(
    dataset: Dataset, templates: list[str], world: World | None = None
) -> Evaluator:
    """Zero-shot accuracy on a data set, for the training loop to call in all processes."""
    from twinlens.eval.tasks import zero_shot

    return lambda lens: zero_shot.measure(lens, dataset, templates=templates, world=world).metrics


def classifier_evaluator(dataset: Dataset, pairs: Dataset, world: World) -> Evaluator:
    """The same of a classifier of the pairs' classes."""
    from twinlens.eval.tasks import classifier

    classifier.check_classes(dataset, pairs.classnames)  # now, not hours after
    return lambda lens: classifier.measure(lens, dataset, world=world).metrics


@contextmanager
def tracking(trackers: list[Tracker], show: Reporter) -> Generator[Reporter]:
    """Report to trackers, too; they are closed however the run ends."""
    from twinlens.train.trackers import figures

    def report(progress: Progress) -> None:
        show(progress)
        for tracker in trackers:
            tracker.log(progress.step, figures(progress))

    try:
        yield report
    finally:
        for tracker in trackers:
            tracker.close()


@contextmanager
def progress_line(seen: list[Progress]) -> Generator[Reporter]:
    """A moving line on a terminal, twenty lines and the measurements elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False)
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting")

        def report(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.step,
                total=progress.steps,
                description=describe(progress),
            )
            twentieth = progress.steps / 20
            last = seen[-1].step if seen else 0
            due = progress.step // twentieth > last // twentieth and not console.is_terminal
            if due or progress.metrics:
                console.print(f"step {progress.step}: {describe(progress)}", soft_wrap=True)
            seen.append(progress)

        yield report


def describe(progress: Progress) -> str:
    """One line: loss, speed, learning rate, scale, time left and measurements."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    parts = [
        f"loss {progress.loss:.3f}",
        f"{progress.pairs_per_second:,.0f} pairs/s",
        f"lr {progress.lr:.1e}",
        f"scale {progress.scale:.1f}",
        f"{minutes}:{seconds:02d} left",
    ]
    if progress.mfu is not None:
        parts.append(f"{progress.mfu:.0%} of the peak")
    counted = {
        "captions cut": progress.truncated_captions,
        "bad samples": progress.bad_samples,
        "steps skipped": progress.skipped_steps,
    }
    parts += [f"{count:,} {what}" for what, count in counted.items() if count]
    return ", ".join(
        parts + [f"{key} {value:.1%}" for key, value in (progress.metrics or {}).items()]
    )
