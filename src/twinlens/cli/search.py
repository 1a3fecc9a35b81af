# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens search`: find images of an index by words, by images, or by both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.options import Device, Engine, Json
from twinlens.cli.output import log, print_json, print_table
from twinlens.errors import ConfigError, DataError, os_errors_as

if TYPE_CHECKING:
    from twinlens.search.index import MinScore, Result
    from twinlens.search.query import Query


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
    if as_json:
        print_json(
            [
                {"query": str(one), "results": [_as_json(result) for result in results]}
                for one, results in zip(wanted, found, strict=True)
            ]
        )
        return
    for one, results in zip(wanted, found, strict=True):
        _print(str(one) if len(wanted) > 1 else "", results)


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


def _print(title: str, results: list[Result]) -> None:
    if not results:
        log(f"{title}: nothing matches" if title else "nothing matches")
        return
    rows = [
        (
            f"{result.score:.3f}",
            "" if result.probability is None else f"{result.probability:.0%}",
            result.image,
            str(result.metadata.get("taken", "")),
        )
        for result in results
    ]
    print_table(("Score", "Match", "Image", "Taken"), rows, title=title)
