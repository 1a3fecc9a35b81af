"""The store of an index: vectors in a file that only grows, and rows in SQLite.

A row's number is its place in the file of vectors. A change writes the vectors first and syncs
them; then one transaction of SQLite makes the rows that point at them. A process killed before
that leaves vectors that nobody points at, and the next writer writes over them. Deleted rows leave
holes, which `compact` closes by writing a new file under a new generation.

SQLite's write-ahead log lets readers see the last whole change while a writer works, and its locks
end with their process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy.typing import NDArray

from twinlens.errors import DataError, ShapeError, require
from twinlens.locks import LockHeldError, file_lock

FORMAT = 1
"""The version of the layout that this code reads and writes."""

_DATABASE, _LOCK = "index.sqlite", "writer.lock"

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    row INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, width INTEGER, height INTEGER
);
CREATE TABLE files (
    path TEXT PRIMARY KEY, row INTEGER NOT NULL REFERENCES images (row),
    size INTEGER NOT NULL, modified INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX files_of_images ON files (row);
CREATE TABLE holes (row INTEGER PRIMARY KEY);
"""

_SQL_BATCH = 500
"""Values of one statement: SQLite takes a limited number."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image of the index, without its vector.

    Attributes:
        hash: SHA-256 of its file's bytes, hexadecimal: the same image under two paths is one row.
        width: In pixels, upright.
        height: In pixels, upright.
    """

    hash: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was indexed.

    Attributes:
        path: Absolute, or as it was given.
        size: In bytes.
        modified: Time of the last change in nanoseconds since 1970.
    """

    path: str
    size: int
    modified: int


class Store:
    """The vectors and rows of an index's directory, of one process.

    Raises:
        DataError: The directory is no index, or one of another version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        database = directory / _DATABASE
        if not database.is_file():
            raise DataError(f"{directory}: got no index, expected what `twinlens index` writes")
        self._database = sqlite3.connect(database, timeout=60, check_same_thread=False)
        try:
            about = self.about()
        except sqlite3.DatabaseError as error:
            raise DataError(f"{database}: cannot be read: {error}") from error
        require(
            about["format"] == str(FORMAT), f"{directory}: format", about["format"],
            f"{FORMAT}, of this version of twinlens", DataError,
        )
        self.width = int(about["width"])
        self._seen: tuple[str, int] = ("", 0)
        self._vectors: Float32[np.ndarray, "row width"] = np.zeros((0, self.width), np.float32)

    @classmethod
    def create(cls, directory: Path, width: int, about: Mapping[str, str]) -> Store:
        """Make an empty store.

        Args:
            directory: Made if it is missing; it must hold no index.
            width: Of the vectors.
            about: What else belongs to the index, as its model.

        Raises:
            OSError: It cannot be made.
        """
        directory.mkdir(parents=True, exist_ok=True)
        facts = {"format": FORMAT, "width": width, "generation": 0, "rows": 0} | dict(about)
        partial = directory / f"{_DATABASE}.{os.getpid()}.partial"
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as database:
            database.executescript(_SCHEMA)
            database.executemany("INSERT INTO about VALUES (?, ?)", facts.items())
            database.commit()
            database.execute("PRAGMA journal_mode = WAL")
        (directory / "vectors-0.f32").touch()
        partial.rename(directory / _DATABASE)
        return cls(directory)

    def about(self) -> dict[str, str]:
        """Facts about the index: format, width, generation, rows and what `create` was given."""
        return dict(self._database.execute("SELECT key, value FROM about"))

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()

    def read(self) -> tuple[Float32[np.ndarray, "row width"], Int64[np.ndarray, " hole"]]:
        """The vectors of the last whole change, mapped into memory, and the rows that are holes."""
        while True:
            with self._transaction():
                about = self.about()
                holes = [row for (row,) in self._database.execute("SELECT row FROM holes")]
            rows = int(about["rows"])
            try:
                self._map(about["generation"], rows)
            except FileNotFoundError:  # compacted since: the next generation is there
                continue
            return self._vectors[:rows], np.array(sorted(holes), np.int64)

    def files(self) -> dict[str, FileState]:
        """The indexed files by their path."""
        found = self._database.execute("SELECT path, size, modified FROM files")
        return {path: FileState(path, size, modified) for path, size, modified in found}

    def rows_by_hash(self, hashes: Iterable[str]) -> dict[str, int]:
        """The rows of images that are there already, by the hash of their bytes."""
        found: dict[str, int] = {}
        for some in _batches(list(hashes)):
            marks = ", ".join("?" * len(some))
            query = f"SELECT hash, row FROM images WHERE hash IN ({marks})"  # noqa: S608  only marks
            found |= dict(self._database.execute(query, some))
        return found

    def describe(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Paths and metadata of rows, in their order; `paths` are sorted."""
        found: dict[int, dict[str, Any]] = {}
        for some in _batches(list(rows)):
            marks = ", ".join("?" * len(some))
            query = f"SELECT row, width, height FROM images WHERE row IN ({marks})"  # noqa: S608
            for row, width, height in self._database.execute(query, some):
                found[row] = {"paths": [], "width": width, "height": height}
            query = f"SELECT row, path FROM files WHERE row IN ({marks}) ORDER BY path"  # noqa: S608
            for row, path in self._database.execute(query, some):
                found[row]["paths"].append(path)
        return [found[row] for row in rows]

    @contextmanager
    def writing(self) -> Generator[Writer]:
        """Change the index as its only writer.

        Raises:
            DataError: Another process is writing.
        """
        try:
            with file_lock(self.directory / _LOCK):
                yield Writer(self, self._database)
        except LockHeldError as error:
            raise DataError(
                f"{self.directory}: is being written by {error}: wait for it, or stop it"
            ) from error

    def vectors_path(self, generation: str) -> Path:
        """The file of vectors of a generation."""
        return self.directory / f"vectors-{generation}.f32"

    def _map(self, generation: str, rows: int) -> None:
        if self._seen[0] == generation and self._seen[1] >= rows:
            return
        shape = (rows, self.width)
        path = self.vectors_path(generation)
        self._vectors = (
            np.memmap(path, np.float32, "r", shape=shape) if rows else np.zeros(shape, np.float32)
        )
        self._seen = generation, rows

    @contextmanager
    def _transaction(self, kind: str = "DEFERRED") -> Generator[None]:
        self._database.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()


class Writer:
    """Changes of a store; made by `Store.writing`."""

    def __init__(self, store: Store, database: sqlite3.Connection) -> None:
        self._store = store
        self._database = database

    def add(
        self,
        images: Sequence[ImageRow],
        vectors: Float32[np.ndarray, "image width"],
        files: Sequence[tuple[FileState, str]],
    ) -> None:
        """Add images and files in one step: all of them, or after a crash none.

        Args:
            images: Images that are not there yet, each hash once.
            vectors: Their unit vectors.
            files: Files, each with the hash of its image, which is one of `images` or is there; a
                file of a path that is there replaces it.

        Raises:
            ShapeError: The vectors have another width.
            DataError: A vector is zero or not finite.
        """
        check_vectors(vectors, len(images), self._store.width)
        about = self._store.about()
        first = int(about["rows"])
        path = self._store.vectors_path(about["generation"])
        with path.open("r+b") as file:
            file.seek(first * self._store.width * 4)
            file.write(np.ascontiguousarray(vectors, np.float32).data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        with self._store._transaction("IMMEDIATE"):  # noqa: SLF001  the two are one
            self._database.executemany(
                "INSERT INTO images VALUES (?, ?, ?, ?)",
                [(first + n, one.hash, one.width, one.height) for n, one in enumerate(images)],
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO files "
                "SELECT ?, row, ?, ? FROM images WHERE hash = ?",
                [(state.path, state.size, state.modified, digest) for state, digest in files],
            )
            self._set("rows", first + len(images))
            self._drop_images_without_files()

    def remove_files(self, paths: Iterable[str]) -> None:
        """Remove files, and images that have no file any more."""
        with self._store._transaction("IMMEDIATE"):  # noqa: SLF001
            self._database.executemany("DELETE FROM files WHERE path = ?", [(p,) for p in paths])
            self._drop_images_without_files()

    def compact(self) -> int:
        """Close the holes; returns their number. Readers keep what they have mapped."""
        vectors, holes = self._store.read()
        if not len(holes):
            return 0
        generation = str(int(self._store.about()["generation"]) + 1)
        kept = np.delete(np.arange(len(vectors)), holes)
        path = self._store.vectors_path(generation)
        with path.open("wb") as file:
            for start in range(0, len(kept), 65_536):
                file.write(np.ascontiguousarray(vectors[kept[start : start + 65_536]]).data)
            file.flush()
            os.fsync(file.fileno())
        # Rows move towards the beginning, in order: none meets one that has not moved yet.
        moved = [(new, int(old)) for new, old in enumerate(kept) if new != old]
        with self._store._transaction("IMMEDIATE"):  # noqa: SLF001
            self._database.executemany("UPDATE files SET row = ? WHERE row = ?", moved)
            self._database.executemany("UPDATE images SET row = ? WHERE row = ?", moved)
            self._database.execute("DELETE FROM holes")
            self._set("rows", len(kept))
            self._set("generation", generation)
        self.sweep()
        return len(holes)

    def sweep(self) -> None:
        """Remove files that a killed writer or an older generation left behind."""
        current = self._store.vectors_path(self._store.about()["generation"])
        for path in self._store.directory.glob("vectors-*.f32"):
            if path != current:
                with suppress(OSError):
                    path.unlink()

    def _drop_images_without_files(self) -> None:
        alone = "FROM images WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.row = images.row)"
        self._database.execute(f"INSERT INTO holes SELECT row {alone}")  # noqa: S608  constant
        self._database.execute(f"DELETE {alone}")  # noqa: S608

    def _set(self, key: str, value: object) -> None:
        self._database.execute("UPDATE about SET value = ? WHERE key = ?", (str(value), key))


def check_vectors(vectors: NDArray[np.float32], count: int, width: int) -> None:
    """Refuse vectors that no search can find.

    Raises:
        ShapeError: They are not [count, width].
        DataError: One is zero or not finite.
    """
    require(
        vectors.shape == (count, width), "vectors", list(vectors.shape), str([count, width]),
        ShapeError,
    )
    lengths = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise DataError(
            f"vectors: got {len(bad):,} that are zero or not finite (the first is number "
            f"{bad[0]}), expected unit vectors"
        )


def live_rows(count: int, holes: Int64[np.ndarray, " hole"]) -> Bool[np.ndarray, " row"]:
    """True for rows that are images."""
    live = np.ones(count, bool)
    live[holes] = False
    return live


def _batches(values: list[Any]) -> Generator[list[Any]]:
    for start in range(0, len(values), _SQL_BATCH):
        yield values[start : start + _SQL_BATCH]
