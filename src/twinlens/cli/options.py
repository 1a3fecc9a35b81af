"""Options that several verbs share, and parsers of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from twinlens.errors import require
from twinlens.types import EngineChoice

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A known name, a directory, a file, hf://org/name.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
Engine = Annotated[
    EngineChoice, typer.Option(help="What computes: OpenVINO on processors, torch on GPUs.")
]
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
    """Make a parser of a repeatable option with a fixed set of values.

    Typer takes a `Literal` for a single value, but for a list it needs a parser.
    """

    def parse(value: str) -> str:
        if value not in choices:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(map(repr, choices))}")
        return value

    return parse


def comma_separated(text: str) -> list[str]:
    """Split names at commas; blank ones and repetitions are dropped.

    Example:
        >>> comma_separated("fp32, bf16,,fp32")
        ['fp32', 'bf16']
    """
    names = (name.strip() for name in text.split(","))
    return list(dict.fromkeys(name for name in names if name))


def parse_counts(option: str, text: str, at_most: int) -> tuple[int, ...]:
    """Parse positive integers between commas; they are sorted, each once.

    Raises:
        ConfigError: One is not an integer from 1 to `at_most`.
    """
    words = comma_separated(text)
    digits = len(str(at_most))
    require(
        all(
            word.isdecimal() and len(word) <= digits and (1 <= int(word) <= at_most)
            for word in words
        ),
        option,
        text,
        f"numbers from 1 to {at_most:,}, such as 1,2,4,8",
    )
    return tuple(sorted({int(word) for word in words}))
