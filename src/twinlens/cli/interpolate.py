# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens interpolate`: interpolate the weights of two models (WiSE-FT)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinlens.cli.given import check_new_directory, remove_on_error
from twinlens.cli.options import Json
from twinlens.cli.output import log, print_json


def interpolate(
    model_a: Annotated[str, typer.Argument(metavar="A", help="The model before, of weight 0.")],
    model_b: Annotated[str, typer.Argument(metavar="B", help="The same fine-tuned, of weight 1.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new directory.")],
    *,
    weight: Annotated[float, typer.Option(help="Where between them, from 0 to 1.")] = 0.5,
    as_json: Json = False,
) -> None:
    """Write a model with weights interpolated between those of A and B."""
    check_new_directory("OUT", out)
    from twinlens.train.finetune.weight_interpolation import save_interpolated

    with remove_on_error(out):
        note = save_interpolated(model_a, model_b, out, weight)
    if note:
        log(f"note: {note}")
    if as_json:
        print_json({"model": str(out), "weight": weight})
    else:
        typer.echo(out)
