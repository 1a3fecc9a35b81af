# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens classify`: which label fits each picture."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.output import USER_MISTAKE, log, print_json
from twinlens.errors import ConfigError, DataError

if TYPE_CHECKING:
    from twinlens.embedder import Prediction


_NAMED = 20
"""How many images that are passed over are named before the rest is counted."""


@dataclass(slots=True)
class Found:
    """The images that paths, directories and globs stand for, and what of these is passed over.

    Attributes:
        images: Those that can be read, in order.
        unreadable: Why an image of another format cannot be, by its path.
        others: Files that are no images.
        empty: What is wrong with the arguments that stand for no image.
    """

    images: list[str] = field(default_factory=list[str])
    unreadable: dict[str, str] = field(default_factory=dict[str, str])
    others: list[str] = field(default_factory=list[str])
    empty: list[DataError] = field(default_factory=list[DataError])

    def take_in(self, other: Found) -> None:
        """Add what another argument stands for."""
        self.images += other.images
        self.unreadable |= other.unreadable
        self.others += other.others


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
    found = find_images(images)
    paths = found.images
    words = read_labels(labels, labels_file)
    from twinlens.embedder import load
    from twinlens.labels import checked_labels, grouped_labels

    if words is not None:
        checked_labels(words)  # before a model is read, or even downloaded
    lens = load(model, device=device, decode="exact")
    if words is None:
        names, classifier = list(lens.head.classnames), lens.head.weight.numpy()
    else:
        groups = grouped_labels(words, lens.tokenizer)
        names = list(groups)
        _log_repeated(groups)
        classifier = lens.zero_shot_classifier(names, template or None)
    embeddings, failures = lens.embed_readable_images(paths)
    ranked = [best[:top] for best in lens.rank(embeddings @ classifier, names)]
    readable = [path for index, path in enumerate(paths) if index not in failures]
    if ranked:
        _print(readable, ranked, as_json=as_json)
    if _log_failures(failures.values(), found):
        raise typer.Exit(USER_MISTAKE)


def _log_repeated(groups: dict[str, list[str]]) -> None:
    for label, others in groups.items():
        if others:
            again = ", ".join(map(repr, others))
            log(f"note: labels: got {again} beside {label!r}, the same for this model: one label")


def find_images(given: list[str]) -> Found:
    """The images that paths, directories and globs stand for, in order.

    Files that are named are images whatever their names say; of directories and globs those are
    that end like one and are not hidden.

    Raises:
        DataError: None of them stands for an image that can be read.
    """
    whole = Found()
    for name in given:
        if Path(name).is_dir():
            part = _sorted_out(Path(name), Path(name).rglob("*"))
        elif glob.has_magic(name) and not Path(name).exists():
            paths = glob.glob(name, recursive=True)  # noqa: PTH207  Path: no absolute
            part = _sorted_out(_plain_part(name), map(Path, paths))
        else:
            part = Found([name])
        if part.images:
            whole.take_in(part)
        else:
            whole.empty.append(_no_images(name, part))
    if not whole.images:
        raise DataError("; ".join(map(str, whole.empty)))
    return whole


def _sorted_out(root: Path, paths: Iterable[Path]) -> Found:
    from twinlens.data.formats import is_hidden, is_image_name, unreadable_format
    from twinlens.data.natural import natural_key

    found = Found()
    for path in sorted(paths, key=lambda path: natural_key(str(path))):
        inside = path.relative_to(root).as_posix()
        if is_image_name(inside):
            found.images.append(str(path))
        elif reason := unreadable_format(inside):
            found.unreadable[str(path)] = reason
        elif not is_hidden(inside) and path.is_file():
            found.others.append(str(path))
    return found


def _plain_part(pattern: str) -> Path:
    """The folder that a glob names before its first wildcard."""
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _no_images(name: str, found: Found) -> DataError:
    from twinlens.data.formats import SUFFIXES

    lines = _counted(found.unreadable.items())
    told = f" that can be read ({'; '.join(lines)})" if lines else ""
    return DataError(
        f"{name}: got no images{told}, expected files that end in {', '.join(sorted(SUFFIXES))}"
    )


def _counted(passed_over: Iterable[tuple[str, str]]) -> list[str]:
    """Paths with reasons as a line for each reason."""
    from twinlens.data.left_out import LeftOut

    left_out = LeftOut()
    for path, reason in passed_over:
        left_out.add(reason, path)
    return left_out.lines()


def _log_failures(failures: Collection[Exception], found: Found) -> bool:
    """Say what could not be classified; whether there was anything."""
    unreadable = [f"{path}: {reason}" for path, reason in found.unreadable.items()]
    for told in [*failures, *found.empty, *unreadable[:_NAMED]]:
        log(f"error: {told}")
    if (more := len(unreadable) - _NAMED) > 0:
        log(f"error: and {more:,} other images of formats that cannot be read")
    for line in _counted((path, "file that is no image") for path in found.others):
        log(f"passed over: {line}")
    return bool(failures or found.empty or unreadable)


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
