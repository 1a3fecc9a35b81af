# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens export`: a model as files for a runtime."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.given import check_new, undone
from twinlens.cli.output import log, print_json, print_table, working

if TYPE_CHECKING:
    from twinlens.export.deployment import Export


class FormatName(StrEnum):
    """The runtimes."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH = "torch"


class PrecisionName(StrEnum):
    """What weights are stored in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class TowersName(StrEnum):
    """What of the model is written."""

    BOTH = "both"
    IMAGE = "image"
    TEXT = "text"


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name, a directory or a file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new directory.")],
    *,
    form: Annotated[
        FormatName, typer.Option("--format", help="The runtime to write for.")
    ] = FormatName.ONNX,
    precision: Annotated[
        PrecisionName, typer.Option(help="Of the weights; int8 also of what is computed.")
    ] = PrecisionName.FP32,
    towers: Annotated[TowersName, typer.Option(help="What to write.")] = TowersName.BOTH,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a model for ONNX Runtime, OpenVINO or torch, checked in that runtime."""
    check_new("OUT", out)
    from twinlens.embed.embedder import load
    from twinlens.export.deployment import export_model

    with working(f"reading {model}"):
        lens = load(model, device="cpu", precision="fp32", towers=towers.value)
    with working(f"writing and checking {out}"), undone(out):
        result = export_model(lens, out, form.value, precision.value)
    _report(result, out, as_json=as_json)


def _report(result: Export, out: Path, *, as_json: bool) -> None:
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
