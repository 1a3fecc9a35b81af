"""Options that several verbs have, and what they say of what is left out of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.output import log

if TYPE_CHECKING:
    from twinlens.data.left_out import LeftOut

ImageColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a table: the column of images. [default: by its name]"),
]
TextColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a table: the column of captions. [default: by its name]"),
]
Separator = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER", help="Of a CSV or TSV: what is between cells. [default: by its header]"
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse data of which anything is left out.")
]


def log_left_out(left_out: LeftOut, title: str) -> None:
    """A line on stderr for each reason, under a title."""
    if left_out.total:
        log(f"{title}:")
    for line in left_out.lines():
        log(f"  {line}")
