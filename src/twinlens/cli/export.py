# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens export`: write a model as files for a runtime."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.given import check_new_directory, remove_on_error
from twinlens.cli.options import Json, Model
from twinlens.cli.output import log, print_json, print_table, spinner
from twinlens.types import ExportFormat, ExportPrecision, TowerSelection

if TYPE_CHECKING:
    from twinlens.export.deployment import ExportResult


def export(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new directory.")],
    *,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="The runtime to write for.")
    ] = "onnx",
    precision: Annotated[
        ExportPrecision, typer.Option(help="Of the weights; int8 also of what is computed.")
    ] = "fp32",
    towers: Annotated[TowerSelection, typer.Option(help="What to write.")] = "both",
    as_json: Json = False,
) -> None:
    """Write a model for ONNX Runtime, OpenVINO or torch, checked in that runtime."""
    check_new_directory("OUT", out)
    from twinlens.embed.loading import load
    from twinlens.export.deployment import export_model

    with spinner(f"reading {model}"):
        embedder = load(model, engine="torch", device="cpu", precision="fp32", towers=towers)
    with spinner(f"writing and checking {out}"), remove_on_error(out):
        result = export_model(embedder, out, form, precision)
    _print_export(result, out, as_json=as_json)


def _print_export(result: ExportResult, out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"path": str(out)} | asdict(result))
        return
    rows = [
        (", ".join(one.files), f"{one.size / 1e6:,.1f} MB", f"{one.cosine:.6f}")
        for one in result.towers
    ]
    print_table(("File", "Size", "Least cosine"), rows)
    if result.tokenizer is not None and result.tokenizer.differs_on:
        texts = ", ".join(map(repr, result.tokenizer.differs_on))
        log(f"note: {result.tokenizer.file}: the library reads otherwise than the model: {texts}")
