# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens classify`: which label fits each picture."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.output import USER_MISTAKE, log, print_json
from twinlens.errors import ConfigError, DataError

if TYPE_CHECKING:
    from twinlens.embedder import Prediction


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
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many labels to show.")] = 5,
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
    embeddings, failures = lens.embed_readable_images(paths)
    ranked = [best[:top] for best in lens.rank(embeddings @ classifier, names)]
    readable = [path for index, path in enumerate(paths) if index not in failures]
    if ranked:
        _print(readable, ranked, as_json=as_json)
    for error in failures.values():
        log(f"error: {error}")
    if failures:
        raise typer.Exit(USER_MISTAKE)


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
