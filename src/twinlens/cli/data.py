# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens data`: build training data."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from twinlens.cli.output import log, print_json, print_table

app = typer.Typer(help="Build training data.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Build training data."""


@app.command()
def icons(
    *,
    out: Annotated[Path, typer.Option(help="Directory of the corpus; a stopped build goes on.")],
    preset: Annotated[
        str, typer.Option(help="full, or small: the ready shards that come with the package.")
    ] = "full",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the preset, as size=96 or seed=1."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that draw; by default one a core.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the packages; by default ~/.cache/twinlens/npm.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Build the open icon corpus: pictures and captions from openly licensed icons and emoji."""
    from twinlens.data.icons.build import build
    from twinlens.data.icons.settings import PRESETS
    from twinlens.errors import UnknownNameError
    from twinlens.settings import override

    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    chosen = override(PRESETS[preset](), settings or [])
    folder = cache or Path.home() / ".cache" / "twinlens" / "npm"
    try:
        with progress_bar() as progress:
            manifest = build(out, folder, chosen, workers=workers, progress=progress)
    except KeyboardInterrupt:
        log(f"stopped: the same command goes on from the shards in {out}")
        raise
    if as_json:
        print_json(manifest)
    else:
        _print_summary(out, manifest)


@contextmanager
def progress_bar() -> Generator[Callable[[int, int], None]]:
    """A bar on stderr that first waits for the plan."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("reading packages", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, description="drawing", completed=done, total=total)

        yield progress


def _print_summary(out: Path, manifest: dict[str, Any]) -> None:
    rows = [
        (part, f"{entry['pictures']:,}", f"{entry['concepts']:,}")
        for part, entry in manifest["parts"].items()
    ]
    print_table(("Part", "Pictures", "Concepts"), rows, title=str(out))
    if manifest["failed"]:
        log(f"{len(manifest['failed'])} pictures could not be drawn: see {out / 'manifest.json'}")
    for note in manifest["notes"]:
        log(note)
