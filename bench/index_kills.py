"""Kill `twinlens index` in every phase of its writing, and compare with an index left in peace.

usage: python bench/index_kills.py FOLDER [--images 20000]

Three steps: index the images; change, move, remove and add some; remove a folder and compact. Each
is run until it ends by itself. Before, in turn, it is killed by SIGKILL in one of the phases of
`PHASES`, the first or second time that it comes there. At the end both indexes must have the same
rows: paths, hashes, metadata, and vectors to the last bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from twinlens.embed.loading import load
from twinlens.errors import DataError
from twinlens.search import store as store_module
from twinlens.search import tables, writer
from twinlens.search.index import Index
from twinlens.search.store import Store

INDEXING = (
    "vectors written, before their sync",
    "vectors synced, before the rows",
    "rows written, before the commit",
    "rows committed",
)
CALIBRATING = ("temporary file written, before its rename", "temporary file renamed")
ANYWHERE = "at a random moment"
PHASES = (
    ("new database written, before its rename", "new database renamed", *3 * INDEXING, ANYWHERE,
     *CALIBRATING),
    (*INDEXING, ANYWHERE, *INDEXING, *CALIBRATING),
    ("rows written, before the commit", "vectors written, before their sync",
     "compacted vectors synced, before the switch",
     "switched to the compacted vectors, before the old are removed", ANYWHERE),
)  # fmt: skip
"""The phases of each step, in the order in which they are tried."""


class Killer:
    """Kills this process the nth time that it comes to a phase."""

    def __init__(self, phase: str, times: int) -> None:
        self.phase, self.left = phase, times

    def at(self, phase: str) -> None:
        """Note that the process is at a phase."""
        if phase == self.phase:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def install(killer: Killer) -> None:
    """Put the killer at every phase."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters):
            if sql != "COMMIT":
                return super().execute(sql, *parameters)
            killer.at("rows written, before the commit")
            ended = super().execute(sql)
            killer.at("rows committed")
            return ended

    def connect(address: str) -> sqlite3.Connection:
        database = sqlite3.connect(
            address,
            uri=True,
            timeout=60,
            check_same_thread=False,
            isolation_level=None,
            factory=Connection,
        )
        database.text_factory = tables._decode_text
        return database

    store_module.connect = connect
    _around(
        writer.Writer,
        "sweep",
        killer,
        "switched to the compacted vectors, before the old are removed",
    )
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def killing_fsync(fd: int) -> None:
        name = str(Path(f"/proc/self/fd/{fd}").readlink())
        if name.endswith(".f32"):
            killer.at("vectors written, before their sync")
        fsync(fd)
        if name.endswith(".f32"):
            killer.at("vectors synced, before the rows")
            if not name.endswith("vectors-0.f32"):
                killer.at("compacted vectors synced, before the switch")

    def killing_rename(self: Path, target: Path) -> Path:
        killer.at("new database written, before its rename")
        renamed = rename(self, target)
        killer.at("new database renamed")
        return renamed

    def killing_replace(self: Path, target: Path) -> Path:
        killer.at("temporary file written, before its rename")
        replaced = replace(self, target)
        killer.at("temporary file renamed")
        return replaced

    os.fsync, Path.rename, Path.replace = killing_fsync, killing_rename, killing_replace


def _around(owner: type, name: str, killer: Killer, before: str) -> None:
    inner = getattr(owner, name)

    def wrapped(self):
        if len(list(self.store.directory.glob("vectors-*.f32"))) > 1:
            killer.at(before)
        return inner(self)

    setattr(owner, name, wrapped)


def run_step(step: int, folder: Path, index: Path) -> None:
    """One step, in this process."""
    opened = Index.create(index, load("icons"), "icons")
    if step < 2:
        opened.update([str(folder)])
        return
    with suppress(DataError):  # an earlier run has removed it
        opened.remove([f"{folder}/0"])
    opened.compact()


def make_images(folder: Path, numbers: range) -> None:
    """Small images, in folders of a thousand."""
    for number in numbers:
        path = folder / str(number // 1000) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (3, 3, 3), np.uint8).repeat(6, axis=0).repeat(6, axis=1)
        Image.fromarray(pixels).save(path)


def change_images(folder: Path, count: int) -> None:
    """Change a tenth, remove a tenth, move and copy some, and add a twentieth."""
    files = sorted(folder.rglob("*.png"))
    random.Random(1).shuffle(files)
    tenth = count // 10
    for number, path in enumerate(files[:tenth]):
        Image.fromarray(np.full((9, 9, 3), number % 251, np.uint8)).resize((9 + number, 9)).save(
            path
        )
    for path in files[tenth : 2 * tenth]:
        path.unlink()
    for path in files[2 * tenth : 2 * tenth + tenth // 4]:
        path.rename(path.with_name(f"moved-{path.name}"))
    for path in files[3 * tenth : 3 * tenth + tenth // 4]:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    make_images(folder, range(count, count + count // 20))


def content(index: Path) -> list[tuple]:
    """Everything that the index has of each file, with its row and its vector."""
    store = Store(index)
    vectors = store.read().vectors
    rows = store.database.execute(
        "SELECT files.path, files.row, size, source, text, metadata, hash, width, height, taken, "
        "camera FROM files JOIN images USING (row) LEFT JOIN notes USING (path) ORDER BY files.path"
    ).fetchall()
    found = [(*row, vectors[row[1]].tobytes()) for row in rows]
    assert len({row[1] for row in rows}) == store.read().num_images
    store.close()
    return found


def run(step: int, folder: Path, index: Path, phase: str = "", times: int = 0) -> int:
    """One step in a process of its own; its exit status."""
    words = [sys.executable, __file__, str(folder), "--step", str(step), "--index", str(index)]
    if phase == ANYWHERE:
        process = subprocess.Popen(words)
        time.sleep(random.uniform(2, 6))
        process.kill()
        return process.wait()
    words += ["--phase", phase, "--times", str(times)] if phase else []
    return subprocess.run(words, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    for name in ("--step", "--times"):
        parser.add_argument(name, type=int)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--phase", default="")
    given = parser.parse_args()
    if given.step is not None:
        if given.phase:
            install(Killer(given.phase, given.times))
        run_step(given.step, given.folder, given.index)
        return
    race(given.folder, given.images)


def race(root: Path, count: int) -> None:
    """Both indexes, step by step, and whether they are equal."""
    images, killed, whole = root / "images", root / "killed.idx", root / "whole.idx"
    make_images(images, range(count))
    counts: Counter[str] = Counter()
    rng = random.Random(0)
    for step, phases in enumerate(PHASES):
        if step == 1:
            change_images(images, count)
        for phase in phases:
            times = rng.randint(1, 2) if phase in INDEXING and step < 2 else 1
            if run(step, images, killed, phase, times) == -signal.SIGKILL:
                counts[phase] += 1
        while run(step, images, killed) != 0:
            pass
        assert run(step, images, whole) == 0
    same = content(killed) == content(whole)
    told = {"kills": sum(counts.values()), "by_phase": counts, "files": len(content(whole))}
    print(json.dumps({**told, "equal": same}, indent=2))
    left = sorted(path.name for path in killed.iterdir())
    print("left in the directory:", ", ".join(left))
    if not same:
        sys.exit("the indexes differ")


if __name__ == "__main__":
    main()
