# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens cache`: list and clear the models that were compiled for this processor."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from twinlens.cli.options import Json
from twinlens.cli.output import log, print_json, print_table
from twinlens.errors import DataError, os_errors_as


def cache(
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of them.")] = False,
    as_json: Json = False,
) -> None:
    """List the models that were compiled for this processor, the last used first."""
    from twinlens.inference.compiled_cache import (
        clear_compiled,
        default_compiled_dir,
        list_compiled,
    )

    directory = default_compiled_dir()
    if clear:
        with os_errors_as(DataError, directory, "cannot be cleared"):
            number, size = clear_compiled(directory)
        if as_json:
            print_json({"directory": str(directory), "removed": number, "bytes": size})
        else:
            log(f"removed {number:,} compiled models, {size / 1e6:,.1f} MB, from {directory}")
        return
    found = list_compiled(directory)
    if as_json:
        files = [asdict(file) | {"path": str(file.path)} for file in found]
        print_json({"directory": str(directory), "files": files})
        return
    rows = [
        (
            Path(file.model).name,
            file.tower,
            file.precision,
            f"{file.size / 1e6:,.1f} MB",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(file.used)),
        )
        for file in found
    ]
    if rows:
        print_table(("Model", "Tower", "Precision", "Size", "Last used"), rows)
    total = sum(file.size for file in found)
    log(f"{len(found):,} compiled models, {total / 1e6:,.1f} MB, in {directory}")
