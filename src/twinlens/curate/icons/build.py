"""The corpus on disk: shards drawn in parallel, resumable at any moment, the same bytes again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from twinlens.curate.icons import clipart
from twinlens.curate.icons.card import write_card
from twinlens.curate.icons.concepts import LANGUAGES
from twinlens.curate.icons.config import IconsConfig
from twinlens.curate.icons.iconify import Drawing
from twinlens.curate.icons.plan import CorpusImage, CorpusPlan, plan_corpus
from twinlens.curate.icons.render import PLAIN_STYLE, render_svg, to_svg
from twinlens.curate.icons.sample import render_sample
from twinlens.curate.icons.sources import PACKAGES
from twinlens.data.webdataset.shards import Members, make_directory, write_shard, write_text_file
from twinlens.errors import ConfigError, DataError, os_errors_as
from twinlens.files import ensure_directory, remove_partial_files
from twinlens.hardware import usable_cpu_count
from twinlens.signals import exit_with_parent
from twinlens.types import ProgressCallback, no_progress

_PROBE_DRAWING = Drawing('<path d="M0 0h9v9z"/>', 0, 0, 16, 16)

BUILDER_VERSION = 1
"""Raised when the same settings would give other bytes than before."""


@dataclass(frozen=True, slots=True)
class _ShardJob:
    """One shard to draw."""

    split: str
    index: int
    images: list[CorpusImage]
    settings: IconsConfig
    directory: Path

    @property
    def tar_path(self) -> Path:
        return self.directory / self.split / f"{self.index:05d}.tar"

    @property
    def stats_path(self) -> Path:
        return self.tar_path.with_name(f"{self.index:05d}_stats.json")


def build_corpus(
    out: Path,
    cache: Path,
    settings: IconsConfig,
    *,
    workers: int | None = None,
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Build the corpus, or go on where a killed build stopped.

    Args:
        out: Folder of the corpus.
        cache: Folder of the packages.
        settings: What to build.
        workers: Processes, at least one; by default one a core.
        progress: Told (images done, images in all) after every shard.

    Returns:
        The manifest, as in `manifest.json`.

    Raises:
        DataError: A source is missing or wrong, `out` cannot be written or holds a corpus of
            other settings.
        ConfigError: `workers` is below 1.
        MissingExtraError: resvg-py is not installed.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: got {workers}, expected at least 1")
    render_svg(
        to_svg(_PROBE_DRAWING, PLAIN_STYLE, 16)
    )  # a missing extra shows now, not after the plan
    with os_errors_as(DataError, out, "cannot be made"), ensure_directory(out):
        make_directory(out)
        _claim_directory(out, settings)
    plan = plan_corpus(settings, cache)
    shards = list(_list_shard_jobs(plan, settings, out))
    for part in settings.parts:
        make_directory(out / part)
        remove_partial_files(out / part)
    _render_shards(shards, workers or usable_cpu_count(), progress)
    return _write_manifest(out, plan, shards, settings)


def corpus_fingerprint(settings: IconsConfig) -> str:
    """A short hash of all that decides the corpus' bytes."""
    packages = [each.sha256 for each in PACKAGES]
    drawings = clipart.list_files() if settings.clipart else []
    values = dataclasses.asdict(settings)
    values["unseen_pictures"] = values.pop("unseen_images")  # as published corpora were hashed
    facts = [BUILDER_VERSION, values, packages, drawings]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _claim_directory(out: Path, settings: IconsConfig) -> None:
    """Mark the folder with the fingerprint of what is built in it."""
    mark = out / "fingerprint.txt"
    expected = corpus_fingerprint(settings)
    remove_partial_files(out)
    if mark.exists():
        got = mark.read_text().strip()
        if got != expected:
            raise DataError(
                f"{out}: holds a corpus of other settings: got {got}, expected {expected}"
            )
    elif any(out.glob("*/*.tar")):
        raise DataError(f"{out}: holds shards of another data set, expected an empty folder")
    else:
        write_text_file(mark, expected + "\n")


def _list_shard_jobs(plan: CorpusPlan, settings: IconsConfig, out: Path) -> Iterator[_ShardJob]:
    step = settings.samples_per_shard
    for part, images in plan.splits.items():
        for number, start in enumerate(range(0, len(images), step)):
            yield _ShardJob(part, number, images[start : start + step], settings, out)


def _render_shards(shards: list[_ShardJob], workers: int, progress: ProgressCallback) -> None:
    total = sum(len(shard.images) for shard in shards)
    todo = [
        shard for shard in shards if not (shard.tar_path.exists() and shard.stats_path.exists())
    ]
    done = total - sum(len(shard.images) for shard in todo)
    progress(done, total)
    if workers == 1 or len(todo) == 1:
        finished: Iterable[int] = map(_render_shard, todo)
    else:
        finished = _render_in_processes(todo, min(workers, len(todo)))
    for count in finished:
        done += count
        progress(done, total)


def _render_in_processes(shards: list[_ShardJob], workers: int) -> Iterator[int]:
    """Draw shards in processes; few wait at a time, so that little is copied ahead."""
    if not shards:
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_init_worker)
    try:
        running: set[Future[int]] = set()
        for shard in shards:
            running.add(pool.submit(_render_shard, shard))
            if len(running) > workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        yield from (future.result() for future in running)
    except BrokenProcessPool as error:
        raise DataError("a drawing process was killed: the same command goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _init_worker() -> None:
    """A worker ends without a word when the user interrupts, and when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    exit_with_parent()


def _render_shard(shard: _ShardJob) -> int:
    """Draw one shard, then note what failed beside it: the note marks the shard as done."""
    failed: dict[str, str] = {}
    counts: Counter[str] = Counter()

    def samples() -> Iterator[tuple[str, Members]]:
        for place, image in enumerate(shard.images):
            key = f"{shard.index:05d}{place:04d}"
            try:
                yield key, render_sample(image, shard.settings)
                counts[image.style] += 1
            except DataError as error:
                failed[f"{image.icon_id}#{image.render_index}"] = str(error)

    write_shard(shard.tar_path, samples())
    stats = {
        "count": sum(counts.values()),
        "styles": dict(sorted(counts.items())),
        "failed": dict(sorted(failed.items())),
    }
    write_text_file(shard.stats_path, json.dumps(stats, indent=1) + "\n")
    return len(shard.images)


def _write_manifest(
    out: Path, plan: CorpusPlan, shards: list[_ShardJob], settings: IconsConfig
) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {part: Counter() for part in settings.parts}
    failed: dict[str, str] = {}
    for shard in shards:
        stats = json.loads(shard.stats_path.read_text())
        counts[shard.split].update(stats["styles"])
        failed.update(stats["failed"])
    manifest = {
        "fingerprint": corpus_fingerprint(settings),
        "settings": dataclasses.asdict(settings),
        "packages": {f"{each.name}@{each.version}": each.sha256 for each in PACKAGES},
        "parts": {
            part: {
                "images": sum(counts[part].values()),
                "concepts": len({image.concept for image in plan.splits[part]}),
                "styles": dict(sorted(counts[part].items())),
            }
            for part in settings.parts
        },
        "languages": LANGUAGES,
        "coverage": plan.coverage,
        "skipped": dict(sorted(plan.skipped.items())),
        "notes": plan.notes,
        "failed": dict(sorted(failed.items())),
    }
    write_text_file(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_card(out, manifest, plan.sets)
    return manifest
