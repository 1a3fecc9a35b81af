"""The corpus on disk: shards drawn in parallel, resumable at any moment, the same bytes again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from twinlens.curate.icons import clipart
from twinlens.curate.icons.card import write_card
from twinlens.curate.icons.concepts import LANGUAGES
from twinlens.curate.icons.config import IconsSettings
from twinlens.curate.icons.iconify import Drawing
from twinlens.curate.icons.plan import Plan, PlannedImage, make_plan
from twinlens.curate.icons.render import PLAIN, render, svg
from twinlens.curate.icons.sample import draw_sample
from twinlens.curate.icons.sources import PACKAGES
from twinlens.data.webdataset.shards import Members, make_directory, write_shard, write_text
from twinlens.errors import ConfigError, DataError
from twinlens.files import made_directory, remove_partials
from twinlens.hardware import usable_cores
from twinlens.signals import end_with_parent

_DOT = Drawing('<path d="M0 0h9v9z"/>', 0, 0, 16, 16)

BUILDER_VERSION = 1
"""Raised when the same settings would give other bytes than before."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """One shard to draw."""

    part: str
    number: int
    images: list[PlannedImage]
    settings: IconsSettings
    directory: Path

    @property
    def tar(self) -> Path:
        return self.directory / self.part / f"{self.number:05d}.tar"

    @property
    def stats(self) -> Path:
        return self.tar.with_name(f"{self.number:05d}_stats.json")

    def is_done(self) -> bool:
        return self.tar.exists() and self.stats.exists()


def build(
    out: Path,
    cache: Path,
    settings: IconsSettings,
    *,
    workers: int | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Build the corpus, or go on where a killed build stopped.

    Args:
        out: Folder of the corpus.
        cache: Folder of the packages.
        settings: What to build.
        workers: Processes, at least one; by default one a core.
        progress: Told after every shard.

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
    render(svg(_DOT, PLAIN, 16))  # a missing extra shows now, not after the plan
    try:
        with made_directory(out):
            make_directory(out)
            _claim(out, settings)
    except OSError as error:
        raise DataError(f"{out}: cannot be made: {error.strerror}") from error
    plan = make_plan(settings, cache)
    shards = list(_shards(plan, settings, out))
    for part in settings.parts:
        make_directory(out / part)
        remove_partials(out / part)
    _draw_all(shards, workers or usable_cores(), progress)
    return _finish(out, plan, shards, settings)


def fingerprint(settings: IconsSettings) -> str:
    """What decides the corpus' bytes, as a short hash."""
    packages = [each.sha256 for each in PACKAGES]
    drawings = clipart.listing() if settings.clipart else []
    values = dataclasses.asdict(settings)
    values["unseen_pictures"] = values.pop("unseen_images")  # as published corpora were hashed
    facts = [BUILDER_VERSION, values, packages, drawings]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _claim(out: Path, settings: IconsSettings) -> None:
    """Mark the folder with the fingerprint of what is built in it."""
    mark = out / "fingerprint.txt"
    expected = fingerprint(settings)
    remove_partials(out)
    if mark.exists():
        got = mark.read_text().strip()
        if got != expected:
            raise DataError(
                f"{out}: holds a corpus of other settings: got {got}, expected {expected}"
            )
    elif any(out.glob("*/*.tar")):
        raise DataError(f"{out}: holds shards of another data set, expected an empty folder")
    else:
        write_text(mark, expected + "\n")


def _shards(plan: Plan, settings: IconsSettings, out: Path) -> Iterator[_Shard]:
    step = settings.samples_per_shard
    for part, images in plan.parts.items():
        for number, start in enumerate(range(0, len(images), step)):
            yield _Shard(part, number, images[start : start + step], settings, out)


def _draw_all(shards: list[_Shard], workers: int, progress: Progress) -> None:
    total = sum(len(shard.images) for shard in shards)
    todo = [shard for shard in shards if not shard.is_done()]
    done = total - sum(len(shard.images) for shard in todo)
    progress(done, total)
    if workers == 1 or len(todo) == 1:
        finished: Iterable[int] = map(_draw_shard, todo)
    else:
        finished = _in_processes(todo, min(workers, len(todo)))
    for count in finished:
        done += count
        progress(done, total)


def _in_processes(shards: list[_Shard], workers: int) -> Iterator[int]:
    """Draw shards in processes; few wait at a time, so that little is copied ahead."""
    if not shards:
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        running: set[Future[int]] = set()
        for shard in shards:
            running.add(pool.submit(_draw_shard, shard))
            if len(running) > workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        yield from (future.result() for future in running)
    except BrokenProcessPool as error:
        raise DataError("a drawing process was killed: the same command goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """A worker ends without a word when the user interrupts, and when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def _draw_shard(shard: _Shard) -> int:
    """Draw one shard, then note what failed beside it: the note marks the shard as done."""
    failed: dict[str, str] = {}
    counts: Counter[str] = Counter()

    def samples() -> Iterator[tuple[str, Members]]:
        for place, image in enumerate(shard.images):
            key = f"{shard.number:05d}{place:04d}"
            try:
                yield key, draw_sample(image, shard.settings)
                counts[image.style] += 1
            except DataError as error:
                failed[f"{image.icon}#{image.number}"] = str(error)

    write_shard(shard.tar, samples())
    stats = {
        "count": sum(counts.values()),
        "styles": dict(sorted(counts.items())),
        "failed": dict(sorted(failed.items())),
    }
    write_text(shard.stats, json.dumps(stats, indent=1) + "\n")
    return len(shard.images)


def _finish(out: Path, plan: Plan, shards: list[_Shard], settings: IconsSettings) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {part: Counter() for part in settings.parts}
    failed: dict[str, str] = {}
    for shard in shards:
        stats = json.loads(shard.stats.read_text())
        counts[shard.part].update(stats["styles"])
        failed.update(stats["failed"])
    manifest = {
        "fingerprint": fingerprint(settings),
        "settings": dataclasses.asdict(settings),
        "packages": {f"{each.name}@{each.version}": each.sha256 for each in PACKAGES},
        "parts": {
            part: {
                "images": sum(counts[part].values()),
                "concepts": len({image.concept for image in plan.parts[part]}),
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
    write_text(out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    write_card(out, manifest, plan.sets)
    return manifest
