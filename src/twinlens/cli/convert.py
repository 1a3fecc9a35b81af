# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens convert`: write a checkpoint in the layout of another library."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.given import check_new_directory, remove_on_error
from twinlens.cli.options import Json
from twinlens.cli.output import log, print_json, print_table, spinner, write_text
from twinlens.config import Activation
from twinlens.errors import CheckpointError
from twinlens.types import CheckpointLayout

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder
    from twinlens.export.parity import ParityReport

PARITY_FILE = "parity.json"


def convert(
    source: Annotated[str, typer.Argument(help="A known name, a directory or a file of weights.")],
    destination: Annotated[Path, typer.Argument(help="A new directory.")],
    *,
    to: Annotated[CheckpointLayout, typer.Option(help="The layout to write.")] = "native",
    image_size: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Resize a ViT's positions for images of this size."),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(help="Of a state dict without a configuration."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the reference; write parity.json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rewrite a checkpoint for another library; the numbers stay as they are."""
    check_new_directory("DESTINATION", destination)
    from twinlens.embed.loading import load
    from twinlens.export.convert import check_parity, write_checkpoint
    from twinlens.hub.resolve import resolve

    with spinner(f"reading {source}"):
        embedder = load(
            source,
            engine="torch",
            device="cpu",
            precision="fp32",
            image_size=image_size,
            activation=activation,
        )
    _record_provenance(embedder, source)
    with spinner(f"writing {destination}"), remove_on_error(destination):
        write_checkpoint(embedder, destination, to)
    reports: list[ParityReport] = []
    if check:
        with spinner("comparing with the reference"):
            original = resolve(source) if image_size is None else None
            reports = check_parity(embedder, destination, original)
        write_text(destination / PARITY_FILE, json.dumps([r.to_dict() for r in reports], indent=2))
    _print_parity(destination, to, reports, as_json=as_json)
    _require_parity(destination, reports)


def _require_parity(destination: Path, reports: list[ParityReport]) -> None:
    failed = [report.reference for report in reports if report.has_failures]
    if failed:
        raise CheckpointError(f"{destination}: differs from {', '.join(failed)}: see {PARITY_FILE}")
    skip_reasons = [report.skip_reason for report in reports if report.skip_reason]
    if reports and len(skip_reasons) == len(reports) - 1:  # the first is our own, not a reference
        raise CheckpointError(
            f"{destination}: is written but not checked, see {PARITY_FILE}: "
            f"{'; '.join(skip_reasons)}"
        )


def _record_provenance(embedder: Embedder, source: str) -> None:
    """Record the source of a model whose checkpoint does not name one."""
    origin = embedder.config.provenance
    if not origin.source:
        local = Path(source).expanduser()
        origin = replace(origin, source=local.name if local.exists() else source)
        embedder.model.config = replace(embedder.config, provenance=origin)


def _print_parity(
    destination: Path, layout: CheckpointLayout, reports: list[ParityReport], *, as_json: bool
) -> None:
    if as_json:
        answer = {"path": str(destination), "layout": layout}
        print_json(answer | {"parity": [report.to_dict() for report in reports]})
        return
    rows = [
        (
            report.reference,
            one.what,
            f"{one.max_error:.2g}",
            "" if one.cosine_error is None else f"{one.cosine_error:.2g}",
            "passes" if one.passes else "FAILS",
        )
        for report in reports
        for one in report.comparisons
    ]
    rows += [
        (report.reference, "", "", "", f"not checked, because {report.skip_reason}")
        for report in reports
        if report.skip_reason
    ]
    if rows:
        print_table(("Reference", "What", "Largest error", "1 - cosine", "Verdict"), rows)
    log(f"{destination}: written in the layout of {layout}")
