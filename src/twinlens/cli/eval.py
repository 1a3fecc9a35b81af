# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens eval`: measure a model on a data set."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from twinlens.cli.output import log, print_json, print_table, working, write_text

if TYPE_CHECKING:
    from twinlens.data.datasets import Dataset
    from twinlens.embedder import Embedder
    from twinlens.eval.classification import Classification
    from twinlens.model.precision import Precision

SHOWN_CLASSES = 15


class Decoding(StrEnum):
    """How pictures become pixels."""

    EXACT = "exact"
    FAST = "fast"


class Task(StrEnum):
    """What to measure."""

    ZERO_SHOT = "zero-shot"
    CLASSIFIER = "classifier"


def eval_(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A known name, a directory, hf://org/name.")
    ],
    *,
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="A directory, a CSV/TSV/Parquet file or tars.")
    ],
    task: Annotated[Task, typer.Option(help="What to measure.")] = Task.ZERO_SHOT,
    template: Annotated[
        list[str] | None,
        typer.Option(help="A sentence with {} where the class goes; several are averaged."),
    ] = None,
    language: Annotated[str, typer.Option(help="Which of the data set's names to use.")] = "en",
    out: Annotated[
        Path | None, typer.Option(help="Write the JSON here, and a page beside it.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16, fp16, int8, int8-weights.")
    ] = "auto",
    decode: Annotated[
        Decoding, typer.Option(help="Pixels as the reference's, or nearly so and faster.")
    ] = Decoding.EXACT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model: accuracy with its 95% interval, chance, and every class."""
    from twinlens.cli.data import open_shown
    from twinlens.embedder import load

    _check(out, task, asks_words=bool(template) or language != "en")
    dataset = open_shown(data)
    lens = load(
        model,
        device=device,
        precision=cast("Precision", precision),  # a wrong one is refused there
        decode=decode.value,
    )
    with working(f"Reading {len(dataset.samples):,} pictures of {dataset.name}"):
        result = _measure(lens, dataset, task, template or [], language)
    provenance = lens.config.provenance
    answer = result.to_dict(model=model, pretrained=provenance.recipe or provenance.source)
    _log_oddities(dataset, result)
    if as_json:
        print_json(answer)
    else:
        _print(result, model)
    if out is not None:  # last: should it fail, the answer is printed already
        _write(out, answer, result, model)


def _check(out: Path | None, task: Task, *, asks_words: bool) -> None:
    from twinlens.errors import ConfigError

    if out is not None and out.suffix == ".html":
        raise ConfigError(f"--out: got {out}, expected a name for the JSON; the page stands beside")
    if task is Task.CLASSIFIER and asks_words:
        raise ConfigError(
            "--template and --language: got one, expected none: a classifier reads no words"
        )


def _measure(
    lens: Embedder, dataset: Dataset, task: Task, templates: list[str], language: str
) -> Classification:
    from twinlens.eval import classifier, zero_shot

    if task is Task.CLASSIFIER:
        return classifier.measure(lens, dataset)
    return zero_shot.measure(lens, dataset, templates=templates, language=language)


def _log_oddities(dataset: Dataset, result: Classification) -> None:
    if dataset.ignored:
        log(f"ignored: {dataset.ignored} files of {dataset.name} that are no pictures")
    for key, reason in result.unreadable.items():
        log(f"unreadable: {key}: {reason}")
    if result.unnamed_classes:
        log(f"left out: {result.unnamed_classes} classes without a name in {result.language!r}")
    if result.shared_names:
        log(f"note: {result.shared_names} classes have the name of another class")


def _write(out: Path, answer: dict[str, object], result: Classification, model: str) -> None:
    from twinlens.eval.report import classification_page

    html = out.with_suffix(".html")
    write_text(out, json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    write_text(html, classification_page(result, model=model))
    log(f"wrote {out} and {html}")


def _print(result: Classification, model: str) -> None:
    """The metrics, then the classes that went worst."""
    rows: list[tuple[str, ...]] = []
    for key, value in result.metrics.items():
        low, high = result.intervals.get(key, (None, None))
        interval = "" if low is None or high is None else f"{low:.1%} to {high:.1%}"
        rows.append((key, f"{value:.1%}", interval, f"{result.chance[key]:.2%}"))
    title = f"{model} on {result.dataset}: {result.samples:,} pictures, {result.classes:,} classes"
    print_table(("Metric", "Value", "95% interval", "Chance"), rows, title=title)
    typer.echo()
    worst = [
        (one.classname, f"{one.recall:.1%}", str(one.samples), one.mistaken_for or "")
        for one in result.per_class[:SHOWN_CLASSES]
    ]
    title = f"Worst {len(worst)} of {len(result.per_class):,} classes that have pictures"
    print_table(("Class", "Recall", "Pictures", "Most often mistaken for"), worst, title=title)
