# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens train`: from a recipe and pairs to a model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.output import log, print_json

if TYPE_CHECKING:
    from twinlens.train.log import Progress, Reporter
    from twinlens.train.trainer import Evaluator


def train(
    *,
    recipe: Annotated[str, typer.Option(help="What to train, such as icons-demo.")],
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="A directory, a CSV/TSV/Parquet file or tars.")
    ],
    out: Annotated[Path, typer.Option(help="Directory of the run; the model goes to OUT/model.")],
    init: Annotated[
        str, typer.Option(metavar="MODEL", help="The model to start from, for fine-tuning.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as optim.lr=0.001."),
    ] = None,
    val: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Labelled pictures to measure on.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="A sentence with {} for --val; several are averaged.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint in OUT.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a model. Stopped at any moment, --resume goes on with the same result."""
    from twinlens.config import override
    from twinlens.data.datasets import open_dataset
    from twinlens.train.recipes import recipe_named
    from twinlens.train.trainer import fit

    chosen = override(recipe_named(recipe, init), settings or [])
    pairs = open_dataset(data)
    evaluate = None if val is None else zero_shot_evaluator(val, template or [])
    log(
        f"{recipe}: {chosen.steps:,} steps of {chosen.batch_size} from {len(pairs.samples):,} pairs"
    )
    seen: list[Progress] = []
    try:
        with progress_line(seen) as report:
            model = fit(
                chosen, pairs, out, resume=resume, evaluate=evaluate, report=report, device=device
            )
    except KeyboardInterrupt:
        log(f"stopped: the same command with --resume goes on from the last checkpoint in {out}")
        raise
    if as_json:
        print_json({"model": str(model), "last": asdict(seen[-1]) if seen else None})
    else:
        typer.echo(model)


def zero_shot_evaluator(spec: str, templates: list[str]) -> Evaluator:
    """Zero-shot accuracy on a data set, for the training loop to call."""
    from twinlens.data.datasets import open_dataset
    from twinlens.embedder import Embedder
    from twinlens.eval import zero_shot
    from twinlens.model.clip import CLIP
    from twinlens.tokenizer import Tokenizer

    dataset = open_dataset(spec)

    def evaluate(model: CLIP, tokenizer: Tokenizer) -> dict[str, float]:
        device = str(model.logit_scale.device)
        lens = Embedder(model, tokenizer, device=device, precision="fp32")
        return zero_shot.measure(lens, dataset, templates=templates).metrics

    return evaluate


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
    if progress.truncated_captions:
        parts.append(f"{progress.truncated_captions:,} captions cut")
    return ", ".join(
        parts + [f"{key} {value:.1%}" for key, value in (progress.metrics or {}).items()]
    )
