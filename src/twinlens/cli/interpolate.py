# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens interpolate`: a model between two (WiSE-FT)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from twinlens.cli.output import print_json
from twinlens.errors import CheckpointError


def interpolate(
    start: Annotated[str, typer.Argument(metavar="A", help="The model before, of weight 0.")],
    end: Annotated[str, typer.Argument(metavar="B", help="The same fine-tuned, of weight 1.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new directory.")],
    *,
    weight: Annotated[float, typer.Option(help="Where between them, from 0 to 1.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the model whose weights lie between those of A and B."""
    from twinlens.hub import resolve
    from twinlens.model.checkpoints import load_model
    from twinlens.model.vocabulary import load_tokenizer
    from twinlens.model.weights import save_model
    from twinlens.train import adapt

    if out.exists():
        raise CheckpointError(f"{out}: is there already, expected a new directory")
    path = resolve(end)
    first, second = load_model(resolve(start)), load_model(path)
    second.load_state_dict(adapt.interpolate(first.state_dict(), second.state_dict(), weight))
    provenance = replace(second.config.provenance, source=f"{weight:g} of {end}, rest of {start}")
    second.config = replace(second.config, provenance=provenance)
    save_model(second, out, load_tokenizer(path, second.config))
    if as_json:
        print_json({"model": str(out), "weight": weight})
    else:
        typer.echo(out)
