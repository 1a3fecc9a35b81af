# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""What `twinlens eval --compare` does: two directories of results, held against each other."""

from __future__ import annotations

from pathlib import Path

from twinlens.cli.output import log, print_json, print_table, write_text
from twinlens.errors import ConfigError


def show(first: Path, second: Path, *, out: Path | None, as_json: bool) -> None:
    """Answer which model is better where, and how sure that is."""
