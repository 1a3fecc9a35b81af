# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens classify`: choose the label that fits each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.found import find_images, log_failures
from twinlens.cli.options import Device, Engine, Json, Templates
from twinlens.cli.output import EXIT_USER_ERROR, log, print_json
from twinlens.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from twinlens.embed.embedder import Embedder, Prediction

_PHOTOGRAPH_HINT = (
    "for photographs take --model openai/ViT-B-32, downloaded once, or another that "
    "`twinlens models --known` lists"
)


def classify(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Images, directories or globs.")
    ],
    *,
    labels: Annotated[
        str | None,
        typer.Option(
            help="What to choose from, separated by commas; a fine-tuned model has its own."
        ),
    ] = None,
    labels_file: Annotated[Path | None, typer.Option(help="The same, one to a line.")] = None,
    templates: Templates = None,
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many labels to show.")] = 5,
    model: Annotated[str, typer.Option(help="A known name, a directory, hf://org/name.")] = "icons",
    engine: Engine = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say which label fits each image, best first."""
    inputs = find_images(images)
    names = read_labels(labels, labels_file)
    from twinlens.embed.labels import group_duplicate_labels
    from twinlens.embed.loading import load

    if names is None:  # checked before a model is read or even downloaded
        _require_classifier(model)
    else:
        group_duplicate_labels(names)
    embedder = load(model, engine=engine, device=device, decode="exact")
    readable, predictions, failures = _classify(embedder, model, inputs.images, names, templates)
    if predictions:
        _print_predictions(readable, [best[:top] for best in predictions], as_json=as_json)
    if log_failures(failures, inputs):
        raise typer.Exit(EXIT_USER_ERROR)


def _classify(
    embedder: Embedder,
    model: str,
    images: list[str],
    labels: list[str] | None,
    templates: list[str] | None,
) -> tuple[list[str], list[list[Prediction]], list[DataError]]:
    """Classify images: those that can be read, their predictions, and the errors of the others."""
    from twinlens.embed.labels import group_duplicate_labels

    if labels is not None:
        _log_duplicate_labels(group_duplicate_labels(labels, embedder.tokenizer))
    not_drawings: list[bool] = []

    def test_for_drawings(pixels: UInt8[np.ndarray, "n 3 size size"]) -> None:
        if embedder.drawing_test is not None:
            not_drawings.extend(embedder.drawing_test.is_not_drawing(pixels).tolist())

    predictions, failures = embedder.classify(
        images, labels, templates or None, on_error="skip", on_pixels=test_for_drawings
    )
    readable = [path for index, path in enumerate(images) if index not in failures]
    if any(not_drawings):
        message = not_drawings_message(readable, not_drawings)
        log(f"{message}, and {model} knows nothing else: {_PHOTOGRAPH_HINT}")
    return readable, predictions, list(failures.values())


def _log_duplicate_labels(groups: dict[str, list[str]]) -> None:
    for label, others in groups.items():
        if others:
            again = ", ".join(map(repr, others))
            log(f"note: labels: got {again} beside {label!r}, the same for this model: one label")


def _require_classifier(model: str) -> None:
    """Refuse a model without a classifier of its own, before its weights are read."""
    from twinlens.checkpoints.head import HEAD_FILE
    from twinlens.hub.resolve import resolve

    if not (resolve(model) / HEAD_FILE).is_file():
        raise ConfigError(
            "--labels: the model has no classifier of its own, expected one fine-tuned to classes, "
            "or --labels or --labels-file"
        )


def not_drawings_message(images: Sequence[str], is_not_drawing: Sequence[bool]) -> str:
    """Message about the images that do not look like drawings, of which there is at least one.

    Example:
        >>> not_drawings_message(["a.png"], [True])
        'a.png does not look like a drawing'
        >>> not_drawings_message(["a.png", "b.png", "c.png"], [False, True, False])
        '1 of 3 images does not look like a drawing (b.png)'
        >>> not_drawings_message(["a.png", "b.png", "c.png"], [True, True, True])
        '3 of 3 images do not look like drawings (a.png and others)'
    """
    flagged = [
        image for image, is_flagged in zip(images, is_not_drawing, strict=True) if is_flagged
    ]
    if len(images) == 1:
        return f"{flagged[0]} does not look like a drawing"
    do = "does not look like a drawing" if len(flagged) == 1 else "do not look like drawings"
    others = "" if len(flagged) == 1 else " and others"
    return f"{len(flagged):,} of {len(images):,} images {do} ({flagged[0]}{others})"


def read_labels(labels: str | None, file: Path | None) -> list[str] | None:
    """Read the labels of `--labels` or `--labels-file`; blank ones are dropped.

    None if neither is given: the model may have classes of its own.

    Raises:
        ConfigError: Both are given.
        DataError: The file is not text.
        OSError: The file cannot be read.
    """
    if labels is not None and file is not None:
        raise ConfigError("labels: got both of --labels and --labels-file, expected one")
    if labels is not None:
        lines = labels.split(",")
    elif file is None:
        return None
    else:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: got no UTF-8 text, expected labels, one to a line") from error
    return [label for label in lines if label.strip()]


def _print_predictions(
    images: list[str], predictions: list[list[Prediction]], *, as_json: bool
) -> None:
    if as_json:
        print_json(
            [
                {
                    "image": image,
                    "predictions": [
                        {"label": one.label, "probability": one.probability} for one in best
                    ],
                }
                for image, best in zip(images, predictions, strict=True)
            ]
        )
        return
    widest = max(len(one.label) for best in predictions for one in best)
    for image, best in zip(images, predictions, strict=True):
        typer.echo(image)
        for one in best:
            bar = "━" * round(30 * one.probability)
            typer.echo(f"  {one.probability:6.1%}  {one.label:{widest}}  {bar}".rstrip())
