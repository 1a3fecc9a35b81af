# ruff: noqa: PLC0415  imports wait until the verb runs: --help stays instant
"""`twinlens data`: build training data, and index it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinlens.cli.given import StrictCommand, check_output_directory, remove_on_error
from twinlens.cli.options import Json, Strict
from twinlens.cli.output import (
    EXIT_USER_ERROR,
    log,
    log_left_out,
    print_json,
    print_table,
    progress_reporter,
)
from twinlens.errors import DataError, require_known

if TYPE_CHECKING:
    from twinlens.data.left_out import LeftOut
    from twinlens.data.samples import Dataset
    from twinlens.data.sources.columns import Columns
    from twinlens.data.webdataset.indexes import ShardResult
    from twinlens.data.webdataset.tars import TarGroup
    from twinlens.types import Split

app = typer.Typer(help="Build training data, and prepare it.", no_args_is_help=True)


@app.command("icons", cls=StrictCommand)
def build_icons(
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
        int | None,
        typer.Option(min=1, max=1024, help="Processes that draw; by default one a core."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the packages; by default ~/.cache/twinlens/npm.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Build the open icon corpus: images and captions from openly licensed icons and emoji."""
    folder = cache or Path.home() / ".cache" / "twinlens" / "npm"
    check_output_directory("--out", out)
    check_output_directory("--cache", folder)
    from twinlens.config_io import apply_overrides
    from twinlens.curate.icons.build import build_corpus
    from twinlens.curate.icons.config import PRESETS

    require_known("preset", preset, PRESETS)
    chosen = apply_overrides(PRESETS[preset](), settings or [])
    try:
        with (
            remove_on_error(out, keep_pattern="*/*.tar"),
            progress_reporter("drawing") as progress,
        ):
            manifest = build_corpus(out, folder, chosen, workers=workers, progress=progress)
    except KeyboardInterrupt:
        log(f"stopped: the same command goes on from the shards in {out}")
        raise
    if as_json:
        print_json(manifest)
    else:
        _print_icons_summary(out, manifest)


@app.command("index", cls=StrictCommand)
def index_tars(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="Tars, or a directory of them.")],
    *,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes; by default one a core, at most 16."),
    ] = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Index tars ahead of a run, which opens them in seconds then; a stopped one goes on."""
    from twinlens.data.datasets import tars_in
    from twinlens.data.webdataset.indexes import iter_shards

    try:
        with progress_reporter("indexing tars") as progress:
            tars = tars_in(spec)
            locations = [location for group in tars for location in group.locations]
            shards = iter_shards(locations, save_indexes=True, workers=workers, progress=progress)
            opened = sorted(shards, key=lambda result: result.position)
    except KeyboardInterrupt:
        log("stopped: the same command goes on from the indexes that are there")
        raise
    summary, left_out = _index_summary(tars, opened)
    for reason in summary["bad"]:
        log(f"error: {reason}")
    if as_json:
        print_json(summary)
    else:
        _print_index_summary(summary)
    log_left_out(left_out, f"left out of {spec}")
    if strict:
        left_out.refuse(spec)
    if summary["bad"]:
        raise typer.Exit(EXIT_USER_ERROR)


def _index_summary(
    tars: list[TarGroup], opened: list[ShardResult]
) -> tuple[dict[str, Any], LeftOut]:
    """Summary of an indexing, as `--json` prints it, and what the tars leave out.

    Raises:
        DataError: Indexes could not be written.
    """
    from twinlens.data.left_out import LeftOut
    from twinlens.data.webdataset.indexes import index_cache_directory
    from twinlens.data.webdataset.tars import summarise_left_out

    usable_shards = [one.shard for one in opened if not isinstance(one.shard, DataError)]
    num_unsaved = sum(shard.in_memory_index is not None for shard in usable_shards)
    if num_unsaved:
        raise DataError(
            f"{index_cache_directory()}: {num_unsaved:,} indexes cannot be written there"
        )
    built = sum(one.was_built for one in opened if not isinstance(one.shard, DataError))
    shards = iter([one.shard for one in opened])
    left_out = LeftOut()
    for part in tars:
        own = list(itertools.islice(shards, len(part.locations)))
        usable = [shard for shard in own if not isinstance(shard, DataError)]
        left_out.merge(summarise_left_out(part, usable))
    return {
        "tars": len(usable_shards),
        "samples": sum(shard.num_samples for shard in usable_shards),
        "bytes": sum(shard.size for shard in usable_shards),
        "already_indexed": len(usable_shards) - built,
        "left_out": left_out.as_json(),
        "bad": [str(one.shard) for one in opened if isinstance(one.shard, DataError)],
    }, left_out


def _print_index_summary(summary: dict[str, Any]) -> None:
    typer.echo(
        f"{summary['tars']:,} tars with {summary['samples']:,} samples, {summary['bytes']:,} "
        f"bytes; "
        f"{summary['already_indexed']:,} were indexed already"
    )
    if summary["bad"]:
        typer.echo(f"{len(summary['bad']):,} tars cannot be used")


def open_dataset_with_progress(
    spec: str,
    *,
    shows_progress: bool = True,
    columns: Columns | None = None,
    splits: Sequence[Split] = ("test",),
) -> Dataset:
    """Open a data set; stderr shows the progress of indexing its tars.

    Args:
        spec: See `open_dataset`.
        shows_progress: True in one of the processes of a run.
        columns: Names of a table's columns.
        splits: Which split to take where a directory has several; it is said.
    """
    from twinlens.data.datasets import open_dataset

    if not shows_progress:
        return open_dataset(spec, columns=columns, splits=splits)
    with progress_reporter("indexing tars") as progress:
        dataset = open_dataset(spec, progress=progress, columns=columns, splits=splits)
    if dataset.split is not None:
        log(f"{spec}: using its split {dataset.split!r}")
    return dataset


def _print_icons_summary(out: Path, manifest: dict[str, Any]) -> None:
    rows = [
        (part, f"{entry['images']:,}", f"{entry['concepts']:,}")
        for part, entry in manifest["parts"].items()
    ]
    print_table(("Part", "Images", "Concepts"), rows, title=str(out))
    if manifest["failed"]:
        log(f"{len(manifest['failed'])} images could not be drawn: see {out / 'manifest.json'}")
    for note in manifest["notes"]:
        log(note)
