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
    """A row of `assets/known_models.csv`: a model that others have published.

    Attributes:
        name: The name that `resolve` takes.
        repository: Its repository on the hub, `org/name`.
        layout: Layout of the repository's files: "open_clip" or "hf".
        architecture: Its name in open_clip, or the authors' name if open_clip does not have it.
        image_size: Side of the images in pixels.
        parameters_millions: Parameters of both towers.
        licence: Licence of the weights, as their authors state it.
        data: Training data.
        imagenet_acc1_percent: Zero-shot top-1 on ImageNet-1k, if it was published.
        source: Source of that figure.
        restrictions: Uses that the licence or the model card forbids, if any.
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
    """Return the table of published models by name."""
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
    """Return the table of published models by repository, which is unique."""
    return {model.repository: model for model in published_models().values()}
