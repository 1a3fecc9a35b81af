# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens classify`: which label fits each picture."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.output import USER_MISTAKE, log, print_json
from twinlens.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from twinlens.embedder import Prediction

_FOR_PHOTOGRAPHS = (
    "for photographs take --model openai/ViT-B-32, downloaded once, or another that "
    "`twinlens models --known` lists"
)


def classify(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Pictures, directories or globs.")
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
    top: Annotated[int, typer.Option(min=1, help="How many labels to show.")] = 5,
    model: Annotated[str, typer.Option(help="A known name, a directory, hf://org/name.")] = "icons",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which label fits each picture, best first."""
    paths = find_pictures(images)
    words = read_labels(labels, labels_file)
    from twinlens.embedder import load
    from twinlens.labels import checked_labels

    if words is not None:
        checked_labels(words)  # before a model is read, or even downloaded
    lens = load(model, device=device, decode="exact")
    if words is None:
        names, classifier = list(lens.head.classnames), lens.head.weight.numpy()
    else:
        names = checked_labels(words, lens.tokenizer)
        classifier = lens.zero_shot_classifier(names, template or None)
    unlike: list[bool] = []

    def look(pixels: Tensor) -> None:
        if lens.drawing_test is not None:
            unlike.extend(lens.drawing_test.unlike(pixels.numpy()).tolist())

    embeddings, failures = lens.embed_readable_images(paths, seen=look)
    ranked = [best[:top] for best in lens.rank(embeddings @ classifier, names)]
    readable = [path for index, path in enumerate(paths) if index not in failures]
    if ranked:
        _print(readable, ranked, as_json=as_json)
    if any(unlike):
        log(f"{no_drawings(readable, unlike)}, and {model} knows nothing else: {_FOR_PHOTOGRAPHS}")
    for error in failures.values():
        log(f"error: {error}")
    if failures:
        raise typer.Exit(USER_MISTAKE)


def no_drawings(images: Sequence[str], unlike: Sequence[bool]) -> str:
    """Which of the images do not look like drawings.

    Example:
        >>> no_drawings(["a.png"], [True])
        'a.png does not look like a drawing'
        >>> no_drawings(["a.png", "b.png", "c.png"], [False, True, False])
        '1 of 3 images does not look like a drawing (b.png)'
        >>> no_drawings(["a.png", "b.png", "c.png"], [True, True, True])
        '3 of 3 images do not look like drawings (a.png and others)'
    """
    found = [image for image, is_unlike in zip(images, unlike, strict=True) if is_unlike]
    if len(images) == 1:
        return f"{found[0]} does not look like a drawing"
    do = "does not look like a drawing" if len(found) == 1 else "do not look like drawings"
    others = "" if len(found) == 1 else " and others"
    return f"{len(found):,} of {len(images):,} images {do} ({found[0]}{others})"


def find_pictures(given: list[str]) -> list[str]:
    """The pictures that paths, directories and globs stand for, in order.

    Raises:
        DataError: A directory or a glob has no picture.
    """
    from twinlens.data.images import SUFFIXES

    def pictures(paths: Iterable[str | Path]) -> list[str]:
        return sorted(str(path) for path in paths if Path(path).suffix.lower() in SUFFIXES)

    found: list[str] = []
    for name in given:
        if Path(name).is_dir():
            inside = pictures(Path(name).rglob("*"))
        elif glob.has_magic(name) and not Path(name).exists():
            inside = pictures(glob.glob(name, recursive=True))  # noqa: PTH207  Path: no absolute
        else:
            inside = [name]
        if not inside:
            kinds = ", ".join(sorted(SUFFIXES))
            raise DataError(f"{name}: got no pictures, expected files that end in {kinds}")
        found += inside
    return found


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


def _print(images: list[str], ranked: list[list[Prediction]], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "image": image,
                    "predictions": [
                        {"label": one.label, "probability": one.probability} for one in best
                    ],
                }
                for image, best in zip(images, ranked, strict=True)
            ]
        )
        return
    widest = max(len(one.label) for best in ranked for one in best)
    for image, best in zip(images, ranked, strict=True):
        typer.echo(image)
        for one in best:
            bar = "━" * round(30 * one.probability)
            typer.echo(f"  {one.probability:6.1%}  {one.label:{widest}}  {bar}".rstrip())
