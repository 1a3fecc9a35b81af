# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens models`: what can be loaded without a download."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinlens.cli.output import log, print_json, print_table

if TYPE_CHECKING:
    from twinlens.hub import KnownModel


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models at hand: embedded in the package, or in the Hugging Face cache."""
    from twinlens.hub import known_models

    found = [describe(model) for model in known_models()]
    if as_json:
        print_json(found)
    elif not found:
        log("no models: none is embedded, and the Hugging Face cache has none in our layout")
    else:
        columns = ("Name", "Where", "Size", "Licence", "Input", "Embedding", "Measured")
        print_table(columns, [_row(one) for one in found])


def describe(model: KnownModel) -> dict[str, Any]:
    """What a directory of weights says of itself; `metrics` is its `metrics.json`, if any."""
    from twinlens.config import CLIPConfig, read_json

    config = read_json(CLIPConfig, model.path / "config.json")
    metrics = model.path / "metrics.json"
    return {
        "name": model.name,
        "where": model.where,
        "path": str(model.path),
        "size_bytes": sum(file.stat().st_size for file in model.path.iterdir() if file.is_file()),
        "licence": config.provenance.licence,
        "image_size": config.preprocess.image_size if config.preprocess else None,
        "embed_dim": config.embed_dim,
        "metrics": json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {},
    }


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    measured = [f"{name} {value:.1%}" for name, value in _fractions(one["metrics"])]
    return (
        one["name"],
        one["where"],
        f"{one['size_bytes'] / 1e6:.1f} MB",
        one["licence"] or "not stated",
        f"{one['image_size']} px" if one["image_size"] else "texts",
        str(one["embed_dim"]),
        ", ".join(measured[:2]) or "not measured",
    )


def _fractions(metrics: dict[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in metrics.items() if isinstance(value, float)]
