# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens models`: list the models that are local or on the Hugging Face hub."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinlens.cli.output import log, print_json, print_table

if TYPE_CHECKING:
    from twinlens.hub.published import PublishedModel
    from twinlens.hub.resolve import KnownModel

LOCAL_COLUMNS = ("Name", "Where", "Size", "Licence", "Input", "Embedding", "Measured")
KNOWN_COLUMNS = ("Name", "Architecture", "Input", "Parameters", "ImageNet-1k acc1", "Licence")

_DEFAULTS: dict[str, Any] = {
    "name": "",
    "where": "",
    "path": None,
    "repository": None,
    "layout": "",
    "architecture": None,
    "licence": "",
    "restrictions": "",
    "data": "",
    "image_size": None,
    "embed_dim": None,
    "parameters_millions": None,
    "size_bytes": None,
    "imagenet_acc1_percent": None,
    "source": "",
    "metrics": {},
}
"""The JSON keys of a model, in order, with their values if nothing is known."""


def list_models(
    known: Annotated[
        bool, typer.Option("--known", help="List the published models that can be downloaded.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, without --known all.")
    ] = False,
) -> None:
    """List the models at hand: embedded in the package, or in the Hugging Face cache."""
    from twinlens.hub.published import published_models
    from twinlens.hub.resolve import known_models

    at_hand = known_models()
    table = published_models()
    others = table.keys() - {model.name for model in at_hand}
    if as_json:
        shown = [local_model_json(model) for model in at_hand if model.published or not known]
        downloadable = [
            {**_DEFAULTS, **asdict(model), "where": "downloadable"}
            for model in table.values()
            if model.name in others
        ]
        print_json(shown + downloadable)
    elif known:
        print_table(KNOWN_COLUMNS, [_known_row(one) for one in table.values()])
    else:
        if at_hand:
            print_table(LOCAL_COLUMNS, [_local_row(local_model_json(model)) for model in at_hand])
        else:
            log("no models: none is embedded, and the Hugging Face cache has none in our layouts")
        log(f"{len(others)} more are downloaded when they are named: twinlens models --known")


def local_model_json(model: KnownModel) -> dict[str, Any]:
    """The JSON object of a local model: from the table of published models, or its own files.

    `metrics` is its `metrics.json`, if it has one.
    """
    folder = model.path.parent if model.path.is_file() else model.path
    metrics = folder / "metrics.json"
    published = {} if model.published is None else asdict(model.published)
    return {
        **_DEFAULTS,
        **_read_model_files(model, folder),
        **published,
        "name": model.name,
        "where": model.where,
        "path": str(model.path),
        "layout": model.layout,
        "size_bytes": sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        "metrics": json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {},
    }


def _read_model_files(model: KnownModel, folder: Path) -> dict[str, Any]:
    """Licence, input and embedding size as the configuration and the model card have them."""
    from twinlens.config import CLIPConfig
    from twinlens.config_io import read_dataclass, read_json_object

    if model.layout == "native":
        config = read_dataclass(CLIPConfig, model.path / "config.json")
        return {
            "licence": config.provenance.licence,
            "image_size": config.preprocess.image_size if config.preprocess else None,
            "embed_dim": config.embed_dim,
        }
    licence = _read_card_licence(folder / "README.md")
    if model.layout == "big_vision":
        return {"licence": licence}
    if model.layout == "hf":
        config = read_json_object(model.path / "config.json")
        vision, embed_dim = config.get("vision_config", config), config.get("projection_dim")
    else:
        config = read_json_object(model.path / "open_clip_config.json")["model_cfg"]
        vision, embed_dim = config.get("vision_cfg"), config.get("embed_dim")
    return {
        "licence": licence,
        "image_size": vision.get("image_size") if isinstance(vision, dict) else None,
        "embed_dim": embed_dim,
    }


def _read_card_licence(card: Path) -> str:
    """Read the `license` of a model card's front matter; empty if there is none."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    front = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    found = re.search(r"^license: *(\S+)", front, re.MULTILINE)
    return found[1] if found else ""


def _local_row(one: dict[str, Any]) -> tuple[str, ...]:
    metrics: dict[str, Any] = one["metrics"]
    measured = [f"{name} {x:.1%}" for name, x in metrics.items() if isinstance(x, float)]
    if one["imagenet_acc1_percent"] is not None:
        measured.append(f"ImageNet-1k acc1 {one['imagenet_acc1_percent']:.1f}%")
    no_input = "texts" if one["layout"] == "native" else "not stated"
    return (
        one["name"],
        one["where"],
        f"{one['size_bytes'] / 1e6:.1f} MB",
        one["licence"] or "not stated",
        f"{one['image_size']} px" if one["image_size"] else no_input,
        str(one["embed_dim"] or "not stated"),
        ", ".join(measured[:2]) or "not measured",
    )


def _known_row(one: PublishedModel) -> tuple[str, ...]:
    acc1 = one.imagenet_acc1_percent
    return (
        one.name,
        one.architecture,
        f"{one.image_size} px",
        f"{one.parameters_millions:.0f} M",
        "not published" if acc1 is None else f"{acc1:.1f}%",
        f"{one.licence} ({one.restrictions})" if one.restrictions else one.licence,
    )
