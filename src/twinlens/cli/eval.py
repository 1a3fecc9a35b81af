# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens eval`: measure a model on data sets, and compare two that were measured."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from twinlens.cli.options import ImageColumn, Separator, Strict, TextColumn


class Decoding(StrEnum):
    """How images become pixels."""

    EXACT = "exact"
    FAST = "fast"


class Task(StrEnum):
    """What to measure."""

    ZERO_SHOT = "zero-shot"
    CLASSIFIER = "classifier"
    RETRIEVAL = "retrieval"
    LINEAR_PROBE = "linear-probe"
    ROBUSTNESS = "robustness"
    SCORES = "scores"


def eval_(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A known name, a directory, hf://org/name."),
    ] = None,
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", help="A directory, a table, tars, digits, fashion-mnist; repeatable."
        ),
    ] = None,
    task: Annotated[
        list[Task] | None, typer.Option(help="What to measure; repeatable. [default: zero-shot]")
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(help="A sentence with {} where the class goes; several are averaged."),
    ] = None,
    language: Annotated[str, typer.Option(help="Which of the data set's names to use.")] = "en",
    train: Annotated[
        str | None, typer.Option(metavar="SPEC", help="What a probe learns from, of one --data.")
    ] = None,
    val: Annotated[
        str | None, typer.Option(metavar="SPEC", help="What its strength is chosen by.")
    ] = None,
    shots: Annotated[
        str, typer.Option(metavar="N,...", help="Also probe with few images a class, as 1,2,4.")
    ] = "",
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Times that few images are drawn.")
    ] = 5,
    shifted: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", help="For robustness: the same classes elsewhere; repeatable."
        ),
    ] = None,
    corruptions: Annotated[
        str, typer.Option(metavar="NAME,...", help="For robustness: all, none, or some by name.")
    ] = "all",
    baseline: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Supervised models' results on --shifted; repeatable."),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A supervised model's results, shown beside; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for JSON, CSV and the report.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where features are kept; by default ~/.cache/twinlens.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep features on disk.")] = True,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="DIR DIR", help="Compare what two models reached, and measure none."),
    ] = None,
    image_column: ImageColumn = None,
    text_column: TextColumn = None,
    separator: Separator = None,
    strict: Strict = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16, fp16, int8, int8-weights.")
    ] = "auto",
    decode: Annotated[
        Decoding, typer.Option(help="Pixels as the reference's, or nearly so and faster.")
    ] = Decoding.EXACT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model on data sets: figures with 95% intervals, chance, and a report."""
    from twinlens.cli import comparing, evaluating
    from twinlens.data.sources.columns import Columns

    if compare is not None:
        comparing.show(*compare, out=out, as_json=as_json)
        return
    evaluating.evaluate(
        evaluating.Wanted(
            model=model,
            data=tuple(data or ()),
            tasks=tuple(one.value for one in task or [Task.ZERO_SHOT]),
            templates=tuple(template or ()),
            language=language,
            train=train,
            val=val,
            shots=shots,
            seeds=seeds,
            shifted=tuple(shifted or ()),
            corruptions=corruptions,
            baseline=tuple(baseline or ()),
            reference=tuple(reference or ()),
            out=out,
            cache=cache,
            keep=keep,
            device=device,
            precision=precision,
            decode=decode.value,
            columns=Columns(image=image_column, text=text_column, separator=separator),
            strict=strict,
            as_json=as_json,
        )
    )
