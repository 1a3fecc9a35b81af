# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens classify`: which label fits each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.found import find_images, log_failures
from twinlens.cli.output import EXIT_USER_ERROR, log, print_json
from twinlens.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

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
    template: Annotated[
        list[str] | None,
        typer.Option(help="A sentence with {} where the label goes; several are averaged."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many labels to show.")] = 5,
    model: Annotated[str, typer.Option(help="A known name, a directory, hf://org/name.")] = "icons",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which label fits each image, best first."""
    found = find_images(images)
    words = read_labels(labels, labels_file)
    from twinlens.embed.embedder import load
    from twinlens.embed.labels import validate_labels

    if words is None:  # before a model is read, or even downloaded
        _require_classifier(model)
    else:
        validate_labels(words)
    lens = load(model, device=device, decode="exact")
    names, classifier = _build_classifier(lens, words, template)
    readable, ranked, failures = _predict(lens, model, found.images, names, classifier)
    if ranked:
        _print_predictions(readable, [best[:top] for best in ranked], as_json=as_json)
    if log_failures(failures, found):
        raise typer.Exit(EXIT_USER_ERROR)


def _build_classifier(
    embedder: Embedder, labels: list[str] | None, templates: list[str] | None
) -> tuple[list[str], NDArray[np.float32]]:
    """Labels and their weights [embed, label]: the model's own, or those of the words."""
    from twinlens.embed.labels import group_duplicate_labels

    if labels is None:
        return list(embedder.head.classnames), embedder.head.weight.numpy()
    groups = group_duplicate_labels(labels, embedder.tokenizer)
    _log_duplicate_labels(groups)
    names = list(groups)
    return names, embedder.zero_shot_classifier(names, templates or None)


def _predict(
    embedder: Embedder,
    model: str,
    images: list[str],
    labels: list[str],
    classifier: NDArray[np.float32],
) -> tuple[list[str], list[list[Prediction]], list[DataError]]:
    """The images that could be read, their labels, and what is wrong with the others."""
    unlike: list[bool] = []

    def look(pixels: Tensor) -> None:
        if embedder.drawing_test is not None:
            unlike.extend(embedder.drawing_test.is_not_drawing(pixels.numpy()).tolist())

    embeddings, failures = embedder.embed_readable_images(images, seen=look)
    readable = [path for index, path in enumerate(images) if index not in failures]
    if any(unlike):
        log(
            f"{not_drawings_message(readable, unlike)}, and {model} knows nothing else: "
            f"{_PHOTOGRAPH_HINT}"
        )
    return readable, embedder.rank(embeddings @ classifier, labels), list(failures.values())


def _log_duplicate_labels(groups: dict[str, list[str]]) -> None:
    for label, others in groups.items():
        if others:
            again = ", ".join(map(repr, others))
            log(f"note: labels: got {again} beside {label!r}, the same for this model: one label")


def _require_classifier(model: str) -> None:
    """Refuse a model that could only choose among labels, before its weights are read."""
    from twinlens.checkpoints.head import HEAD_FILE
    from twinlens.hub.resolve import resolve

    if not (resolve(model) / HEAD_FILE).is_file():
        raise ConfigError(
            "--labels: the model has no classifier of its own, expected one fine-tuned to classes, "
            "or --labels or --labels-file"
        )


def not_drawings_message(images: Sequence[str], is_not_drawing: Sequence[bool]) -> str:
    """Which of the images do not look like drawings.

    Example:
        >>> not_drawings_message(["a.png"], [True])
        'a.png does not look like a drawing'
        >>> not_drawings_message(["a.png", "b.png", "c.png"], [False, True, False])
        '1 of 3 images does not look like a drawing (b.png)'
        >>> not_drawings_message(["a.png", "b.png", "c.png"], [True, True, True])
        '3 of 3 images do not look like drawings (a.png and others)'
    """
    found = [image for image, is_unlike in zip(images, is_not_drawing, strict=True) if is_unlike]
    if len(images) == 1:
        return f"{found[0]} does not look like a drawing"
    do = "does not look like a drawing" if len(found) == 1 else "do not look like drawings"
    others = "" if len(found) == 1 else " and others"
    return f"{len(found):,} of {len(images):,} images {do} ({found[0]}{others})"


def read_labels(labels: str | None, file: Path | None) -> list[str] | None:
    """The labels of `--labels` or `--labels-file`; blank ones are dropped.

    None where neither is given: the model has its own, or none.

    Raises:
        ConfigError: Both are given.
        DataError: The file is not text.
        OSError: The file cannot be read.
    """
    if labels is not None and file is not None:
        raise ConfigError("labels: got both of --labels and --labels-file, expected one")
    if labels is not None:
        found = labels.split(",")
    elif file is None:
        return None
    else:
        try:
            found = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: got no UTF-8 text, expected labels, one to a line") from error
    return [label for label in found if label.strip()]


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
