"""The table of models that others have published: `assets/known_models.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twinlens.config_io import from_dict

TABLE = Path(__file__).parents[1] / "assets" / "known_models.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A model that others have published, as `assets/known_models.csv` tells of it.

    Attributes:
        name: What `resolve` takes.
        repository: Where the hub has it, `org/name`.
        layout: Of the repository's files: "open_clip" or "hf".
        architecture: As open_clip calls it, or its authors where open_clip has not got it.
        image_size: Side of the images in pixels.
        parameters_millions: Of both towers.
        licence: Of the weights, as their authors state it.
        data: What it learned from.
        imagenet_acc1_percent: Zero-shot top-1 on ImageNet-1k, if it was published.
        source: Of that figure.
        restrictions: What the licence or the model card forbids, if anything.
    """

    name: str
    repository: str
    layout: str
    architecture: str
    image_size: int
    parameters_millions: float
    licence: str
    data: str
    imagenet_acc1_percent: float | None
    source: str
    restrictions: str


@cache
def published_models() -> dict[str, PublishedModel]:
    """The table of models that are downloaded when they are named, by name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["name"]: _parse_row(row) for row in csv.DictReader(file)}


def _parse_row(row: dict[str, str]) -> PublishedModel:
    acc1 = row.pop("imagenet_acc1_percent")
    values = {
        **row,
        "image_size": int(row["image_size"]),
        "parameters_millions": float(row["parameters_millions"]),
        "imagenet_acc1_percent": float(acc1) if acc1 else None,
    }
    return from_dict(PublishedModel, values)


@cache
def published_by_repository() -> dict[str, PublishedModel]:
    """The same table by repository, of which each is there once."""
    return {one.repository: one for one in published_models().values()}
