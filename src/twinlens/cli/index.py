# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens index`: make folders of images searchable, and keep the index up to date."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinlens.cli.options import Device, Engine, Json
from twinlens.cli.output import EXIT_USER_ERROR, log, print_json, progress_reporter
from twinlens.errors import ConfigError

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder
    from twinlens.search.index import Index
    from twinlens.search.update import UpdateCounts
    from twinlens.types import EngineChoice

EMBEDDED_MODEL = "icons"

_PHOTOGRAPH_MODEL = "openai/ViT-B-32"
_NUM_TESTED = 32
"""Images that are looked at to see whether they are photographs."""


def index(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPEC]...",
            help="Folders of images, images, globs or data sets; none: those of before.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The index: new, or one to update.")],
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Take a file or a folder out of the index."),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Free the space of deleted images.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Of a new index. [default: the best one in the local cache, else icons]"),
    ] = None,
    engine: Engine = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Index images for `twinlens search`: what is new is embedded, what is gone is dropped."""
    from twinlens.search.update import UpdateCounts

    start = time.monotonic()
    names = list(sources or ())
    if names and remove:
        raise ConfigError("--remove: got folders to index beside it, expected one of the two")
    counts = UpdateCounts()
    if (remove or compact) and not names:
        opened = _open(out)
        counts.removed = opened.remove(remove or ())
    else:
        opened = _prepare(out, names, model, engine, device)
        with progress_reporter("indexing") as progress:
            counts = opened.update(names, progress=progress)
    if compact:
        opened.compact()
    _report(opened, counts, time.monotonic() - start, as_json=as_json)
    if counts.unreadable.total:
        raise typer.Exit(EXIT_USER_ERROR)


def _open(out: Path) -> Index:
    from twinlens.search.index import Index

    return Index.open(out)


def _prepare(
    out: Path, names: list[str], model: str | None, engine: EngineChoice, device: str
) -> Index:
    """The index, opened or made."""
    from twinlens.embed.loading import load
    from twinlens.search.index import Index
    from twinlens.search.sources import open_source, sample_images
    from twinlens.search.store import DATABASE
    from twinlens.search.writer import require_free

    if (out.expanduser() / DATABASE).is_file():
        opened = Index.open(out)
        name = model or opened.identity.model
        return Index.open(out, load(name, engine=engine, device=device))
    require_free(out.expanduser())
    if not names:
        raise ConfigError(f"SPEC: got nothing to index, and {out} is no index: expected folders")
    for name in names:  # before a model is read or downloaded
        sample_images(open_source(name), 1)
    chosen = model or best_cached_model()
    if model is None:
        log(f"model: {chosen}")
    embedder = load(chosen, engine=engine, device=device)
    if model is None and chosen == EMBEDDED_MODEL:
        _refuse_photographs(embedder, names)
    directory = Path(chosen).expanduser()
    stored = str(directory.resolve()) if directory.exists() and chosen != EMBEDDED_MODEL else chosen
    return Index.create(out, embedder, stored)


def best_cached_model() -> str:
    """The most accurate published model of the local cache; without one, the embedded model."""
    from twinlens.hub.resolve import known_models

    accuracies = {
        model.name: model.published.imagenet_acc1_percent
        for model in known_models()
        if model.published and model.published.imagenet_acc1_percent
    }
    return max(accuracies, key=lambda name: accuracies[name], default=EMBEDDED_MODEL)


def _refuse_photographs(embedder: Embedder, names: list[str]) -> None:
    """Refuse to index photographs with a model of drawings that nobody has asked for.

    Raises:
        ConfigError: Most of the images do not look like drawings.
        DataError: There are no images.
    """
    from twinlens.search.sources import open_source, sample_images

    detector = embedder.drawing_test
    if detector is None:
        return
    flags: list[bool] = []
    for name in names:
        embedder.embed_readable_images(
            sample_images(open_source(name), _NUM_TESTED),
            seen=lambda pixels: flags.extend(detector.is_not_drawing(pixels).tolist()),
        )
    if 2 * sum(flags) > len(flags):
        raise ConfigError(
            f"model: {sum(flags)} of {len(flags)} images do not look like drawings, and "
            f"{EMBEDDED_MODEL} knows nothing else: for photographs take --model "
            f"{_PHOTOGRAPH_MODEL}, downloaded once, or another that `twinlens models --known` "
            f"lists; --model {EMBEDDED_MODEL} goes on all the same"
        )


def _report(opened: Index, counts: UpdateCounts, seconds: float, *, as_json: bool) -> None:
    facts = {
        "added": counts.added,
        "changed": counts.changed,
        "removed": counts.removed,
        "unchanged": counts.unchanged,
        "duplicates": counts.duplicates,
        "unreadable": counts.unreadable.as_json(),
        "left_out": counts.left_out.as_json(),
        "rows": len(opened),
        "model": opened.identity.model,
        "seconds": round(seconds, 3),
    }
    for line in counts.unreadable.lines():
        log(f"error: {line}")
    for line in counts.left_out.lines():
        log(f"passed over: {line}")
    if as_json:
        print_json(facts)
        return
    numbers = ", ".join(
        f"{facts[name]:,} {name}"
        for name in ("added", "changed", "removed", "unchanged", "duplicates")
        if facts[name] or name == "added"
    )
    typer.echo(f"{opened.store.directory}: {_images(len(opened))} ({numbers}), {seconds:.1f} s")


def _images(number: int) -> str:
    return f"{number:,} image{'' if number == 1 else 's'}"
