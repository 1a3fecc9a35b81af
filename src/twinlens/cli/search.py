# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens search`: find images of an index by words, by images, or by both."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinlens.cli.options import Device, Engine, Json
from twinlens.cli.output import log, print_json, print_table, write_text
from twinlens.cli.thumbnails import terminal_graphics, thumbnail
from twinlens.errors import ConfigError, DataError, os_errors_as

if TYPE_CHECKING:
    from twinlens.search.index import Index, MinScore, Result
    from twinlens.search.query import Query


_NOT_ON_CARDS = ("id", "size", "width", "height", "text")
_MAX_ON_CARD = 80

_THUMBNAIL_CELLS = 24
"""Width of a thumbnail in the terminal, in characters."""


def search(
    query: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="Words that the images show.")
    ] = None,
    *,
    index: Annotated[Path, typer.Option(metavar="DIR", help="What `twinlens index` has made.")],
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="An image to look for, or the id of a result."),
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(metavar="WORDS:WEIGHT,...", help="Words with weights, as sunset:1,beach:0.5."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="WORDS", help="What the images should not show."),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Many queries, one to a line.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Of the metadata, as \"width > 500 AND taken >= '2024-01-01'\".",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many results to show.")] = 10,
    page: Annotated[int, typer.Option(min=1, max=10, help="Which page of as many.")] = 1,
    min_score: Annotated[
        str,
        typer.Option(help="Least cosine: a number, none, or auto, the index's calibrated cut-off."),
    ] = "auto",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the images, too.")
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Show the images, where the terminal can.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Where the index's model lies now. [default: the index's]")
    ] = None,
    engine: Engine = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find the images of an index that fit words or images best, or say that none does."""
    wanted = _read_queries(query, image, mix, negative, queries)
    least = parse_min_score(min_score)
    from twinlens.search.index import Index

    opened = Index.open(index)
    if any(part.kind != "id" for one in wanted for part in one.parts):
        from twinlens.embed.loading import load

        towers = "both" if any(one.has_images for one in wanted) else "text"
        name = model or opened.identity.model
        opened = Index.open(index, load(name, engine=engine, device=device, towers=towers))
    found = opened.search_many(wanted, top, offset=(page - 1) * top, where=where, min_score=least)
    if html is not None:
        _write_page(html, opened, wanted, found)
    if as_json:
        print_json(
            [
                {"query": str(one), "results": [_as_json(result) for result in results]}
                for one, results in zip(wanted, found, strict=True)
            ]
        )
        return
    for one, results in zip(wanted, found, strict=True):
        _print(str(one) if len(wanted) > 1 else "", results, opened if thumbnails else None)


def _read_queries(
    words: str | None,
    images: list[str] | None,
    mix: str | None,
    negative: list[str] | None,
    file: Path | None,
) -> list[Query]:
    """The queries of a file; or one of words, images and mixtures together.

    Raises:
        ConfigError: Both are given, or neither.
        DataError: The file has none, or there is no such image.
    """
    from twinlens.search.query import (
        NOT_WEIGHT,
        Part,
        Query,
        image_part,
        parse_mixture,
        read_queries,
    )

    parts = [Part("text", words)] if words is not None else []
    parts += [image_part(one) for one in images or ()]
    parts += parse_mixture(mix) if mix is not None else []
    if file is None:
        parts += [Part("text", one, NOT_WEIGHT) for one in negative or ()]
        return [Query(tuple(parts))]
    if parts or negative:
        raise ConfigError("--queries: got a query beside it, expected one of them")
    with os_errors_as(DataError, file, "cannot be read"):
        return read_queries(file)


def parse_min_score(text: str) -> MinScore:
    """Parse `--min-score`.

    Raises:
        ConfigError: It is no cosine.

    Example:
        >>> parse_min_score("0.25"), parse_min_score("none")
        (0.25, None)
    """
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1 <= value <= 1:
        raise ConfigError(f"--min-score: got {text!r}, expected auto, none, or a cosine in -1..1")
    return value


def _as_json(result: Result) -> dict[str, object]:
    return {
        "image": result.image,
        "score": result.score,
        "probability": result.probability,
        "metadata": dict(result.metadata),
    }


def printable(text: str) -> str:
    r"""A file's name without characters that a terminal obeys.

    Example:
        >>> printable("a cat\n\x1b[31m.png")
        'a cat\\n\\x1b[31m.png'
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "replace").decode()
        for one in text
    )


def _write_page(path: Path, index: Index, queries: list[Query], found: list[list[Result]]) -> None:
    from twinlens.search.contact_sheet import SheetResult, SheetSection, contact_sheet

    sections = [
        SheetSection(
            text="" if query.file else str(query),
            image=query.file,
            results=[
                SheetResult(
                    path=Path(one.image),
                    score=one.score,
                    probability=one.probability,
                    metadata=card_metadata(one.metadata),
                )
                for one in results
            ],
        )
        for query, results in zip(queries, found, strict=True)
    ]
    write_text(path, contact_sheet("Search", sections, index.read_image))
    log(f"page: {path}")


def card_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The metadata that fits on a card: short values, the first line of a caption.

    Example:
        >>> card_metadata({"width": 4, "height": 3, "id": "0d4a", "text": "a", "names": {}})
        {'caption': 'a', 'pixels': '4 x 3'}
    """
    shown: dict[str, str] = {}
    if metadata.get("text"):
        shown["caption"] = str(metadata["text"]).splitlines()[0]
    if "width" in metadata and "height" in metadata:
        shown["pixels"] = f"{metadata['width']} x {metadata['height']}"
    shown |= {
        name: str(value)
        for name, value in metadata.items()
        if name not in _NOT_ON_CARDS and not isinstance(value, dict | list)
    }
    return {name: value for name, value in shown.items() if 0 < len(value) <= _MAX_ON_CARD}


def _print(title: str, results: list[Result], shown: Index | None) -> None:
    """Print a table; with the images, read from the index `shown`, where the terminal can."""
    if not results:
        log(f"{title}: nothing matches" if title else "nothing matches")
        return
    rows = [
        (
            f"{result.score:.3f}",
            "" if result.probability is None else f"{result.probability:.0%}",
            printable(result.image),
            str(result.metadata.get("taken", "")),
        )
        for result in results
    ]
    how = terminal_graphics(os.environ, sys.stdout.isatty()) if shown is not None else None
    if how is None or shown is None:
        print_table(("Score", "Match", "Image", "Taken"), rows, title=title)
        return
    if title:
        typer.echo(title)
    for row, result in zip(rows, results, strict=True):
        with suppress(DataError):  # it is gone: its line says what it was
            typer.echo(thumbnail(shown.read_image(result.image), how, _THUMBNAIL_CELLS), nl=False)
        typer.echo("  ".join(cell for cell in row if cell))
