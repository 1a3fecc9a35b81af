"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as optim.lr=0.001."),
]
Init = Annotated[
    str, typer.Option(metavar="MODEL", help="The model to start from, for fine-tuning.")
]
Templates = Annotated[
    list[str] | None,
    typer.Option("--template", help="A sentence with {} where the class goes; several average."),
]
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


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """Parse an option of which several may be given and each is one of some words.

    Typer takes a `Literal` for a single value, and for lists needs a parser.
    """

    def parse(value: str) -> str:
        if value not in choices:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(map(repr, choices))}")
        return value

    return parse
