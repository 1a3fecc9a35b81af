"""The store of an index: vectors in a file that only grows, and rows in SQLite.

A row's number is its place in the file of vectors. A change writes the vectors first and syncs
them; then one transaction of SQLite makes the rows that point at them. A process killed before
that leaves vectors that nobody points at, and the next writer writes over them. Deleted rows leave
holes, which `Writer.compact` closes by writing a new file under a new generation.

SQLite's write-ahead log lets readers see the last whole change while a writer works, and its locks
end with their process.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64

from twinlens.errors import DataError, os_errors_as, require
from twinlens.search.tables import (
    OWN_COLUMNS,
    ROW,
    SCHEMA,
    ColumnType,
    InputColumn,
    connect,
    database_uri,
    encode_text,
    filtered_files,
)

if TYPE_CHECKING:
    from twinlens.search.where import Filter

FORMAT = 1
"""The version of the layout that this code reads and writes."""

DATABASE = "index.sqlite"

_SQL_BATCH = 500
"""Values of one statement: SQLite takes a limited number."""


class MovedError(Exception):
    """A writer has moved the vectors that a transaction sees: begin another one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The vectors of an index as of its last whole change.

    Attributes:
        vectors: Unit vectors, float32 [row, width], mapped into memory.
        holes: Rows that are no images any more, sorted.
        version: Another number for every change that has moved, added or removed rows.
        generation: Another number for every file of vectors.
    """

    vectors: Float32[np.ndarray, "row width"]
    holes: Int64[np.ndarray, " hole"]
    version: int
    generation: int

    @property
    def num_images(self) -> int:
        """The number of rows that are images."""
        return len(self.vectors) - len(self.holes)


class Store:
    """The vectors and rows of an index's directory, as a reader sees them.

    Threads may share it.

    Raises:
        DataError: The directory is no index, or one of another version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / DATABASE
        if not path.is_file():
            raise DataError(f"{directory}: got no index, expected what `twinlens index` writes")
        self._lock = threading.RLock()
        self.database = _open_database(path)
        about = self.about()
        require(
            about.get("format") == str(FORMAT), f"{directory}: format", about.get("format"),
            f"{FORMAT}, of this version of twinlens", DataError,
        )  # fmt: skip
        self.width = int(about["width"])
        self._mapped = np.zeros((0, self.width), np.float32)
        self._mapped_generation = -1
        self._snapshot: Snapshot | None = None

    @classmethod
    def create(cls, directory: Path, width: int, about: Mapping[str, str]) -> Store:
        """Make an empty store.

        Args:
            directory: Made if it is missing; it must hold no index.
            width: Of the vectors.
            about: What else belongs to the index, as its model.

        Raises:
            DataError: It cannot be made.
        """
        facts = {"format": FORMAT, "width": width, "generation": 0, "rows": 0, "version": 0}
        partial = directory / f"{DATABASE}.{os.getpid()}.partial"
        with os_errors_as(DataError, directory, "cannot be written"), database_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
            with closing(sqlite3.connect(partial)) as database:
                database.executescript(SCHEMA)
                rows = [(key, str(value)) for key, value in (facts | dict(about)).items()]
                database.executemany("INSERT INTO about VALUES (?, ?)", rows)
                database.commit()
                database.execute("PRAGMA journal_mode = WAL")
            (directory / "vectors-0.f32").touch()
            partial.rename(directory / DATABASE)
        return cls(directory)

    def about(self) -> dict[str, str]:
        """Facts about the index: format, width, rows, and what `create` was given."""
        with self._lock, database_errors(self.directory):
            return dict(self.database.execute("SELECT key, value FROM about"))

    def close(self) -> None:
        """Let go of the files."""
        self.database.close()

    def read(self) -> Snapshot:
        """The vectors of the last whole change; the same object while nothing has changed.

        Raises:
            MovedError: Within a transaction, which sees the index as it was when it began, the
                vectors of then are gone: a writer has compacted them.
            DataError: The vectors are missing or cut off.
        """
        with self._lock:
            is_within = self.database.in_transaction
            while True:
                with self.transaction("DEFERRED"):
                    about = self.about()
                    if self._snapshot and self._snapshot.version == int(about["version"]):
                        return self._snapshot
                    holes = [row for (row,) in self.database.execute("SELECT row FROM holes")]
                generation = int(about["generation"])
                try:
                    vectors = self._map(generation, int(about["rows"]))
                except FileNotFoundError:
                    if is_within:
                        raise MovedError from None
                    if generation != int(self.about()["generation"]):
                        continue  # compacted since: the next generation is there
                    path = self.vectors_path(generation)
                    raise DataError(f"{path}: is missing, expected the index's vectors") from None
                ordered = np.sort(np.array(holes, np.int64))
                version = int(about["version"])
                self._snapshot = Snapshot(vectors, ordered, version, generation)
                return self._snapshot

    def rows_by_hash(self, hashes: Iterable[str]) -> dict[str, int]:
        """The rows of images that are there already, by the hash of their bytes."""
        found: dict[str, int] = {}
        for some in _batches(list(hashes)):
            query = f"SELECT hash, row FROM images WHERE hash IN ({_marks(some)})"
            found |= dict(self._select(query, some))
        return found

    def rows_by_hash_prefix(self, prefix: str) -> list[int]:
        """The rows of the images whose hash begins with some hexadecimal digits."""
        query = "SELECT row FROM images WHERE hash >= ? AND hash < ?"
        return [row for (row,) in self._select(query, [prefix, prefix + "g"])]

    def columns(self) -> dict[str, ColumnType]:
        """Names and types of the columns that a filter may name."""
        return {
            **{name: one.type for name, one in self._input_columns().items()},
            **OWN_COLUMNS,
        }

    def sources(self) -> list[str]:
        """The folders and data sets that the index was made of."""
        return [spec for (spec,) in self._select("SELECT spec FROM sources ORDER BY spec")]

    def matching_rows(self, condition: Filter) -> Int64[np.ndarray, " row"]:
        """The rows of images of which a file matches a filter, sorted."""
        query = filtered_files(condition.sql, self._input_columns(), ROW)
        rows = [row for (row,) in self._select(query, condition.parameters)]
        return np.sort(np.array(rows, np.int64))

    def describe(
        self, rows: Sequence[int], condition: Filter | None = None
    ) -> list[dict[str, Any]]:
        """Paths and metadata of rows, in their order; a row that is gone is left out.

        Args:
            rows: The rows.
            condition: Only files that match are named.
        """
        found: dict[int, dict[str, Any]] = {}
        columns = self._input_columns() if condition else {}
        for some in _batches(list(rows)):
            among = f"WHERE files.row IN ({_marks(some)})"
            matching, parameters = "", ()
            if condition:
                paths = filtered_files(condition.sql, columns, "path", among)
                matching = f"AND files.path IN ({paths})"
                parameters = (*some, *condition.parameters)
            query = (
                "SELECT files.row, hash, files.path, NULLIF(size, -1), width, height, taken, "
                "camera, licence, text, metadata FROM files JOIN images ON images.row = files.row "
                "LEFT JOIN notes ON notes.path = files.path "
                f"{among} {matching} ORDER BY files.path"
            )
            for row, *values in self._select(query, [*some, *parameters]):
                _add_file(found, row, values)
        return [found[row] for row in rows if row in found]

    def place(self, path: str) -> tuple[str, int] | None:
        """The source of a file and its place among its samples; None if it is not indexed."""
        query = "SELECT source, item FROM files WHERE path = CAST(? AS TEXT)"
        found = self._select(query, [encode_text(path)])
        return found[0] if found else None

    def texts(self, limit: int) -> list[tuple[int, str]]:
        """Rows with a caption, spread over the index: at most `limit`."""
        query = (
            "SELECT row, text FROM notes JOIN files USING (path) WHERE text != '' "
            "ORDER BY (row * 2654435761) % 4294967296 LIMIT ?"
        )
        return list(self._select(query, [limit]))

    def vectors_path(self, generation: int | str) -> Path:
        """The file of vectors of a generation."""
        return self.directory / f"vectors-{generation}.f32"

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Generator[None]:
        """All changes of the block, or none; one within another is a part of it.

        Raises:
            DataError: The database cannot be read or written, as on a full disk.
        """
        with self._lock, database_errors(self.directory):
            if self.database.in_transaction:
                yield
                return
            self.database.execute(f"BEGIN {kind}")
            try:
                yield
                self.database.execute("COMMIT")
            except BaseException:
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")
                raise

    def _input_columns(self) -> dict[str, InputColumn]:
        rows = self._select("SELECT name, type, place FROM columns")
        return {name: InputColumn(kind, place) for name, kind, place in rows}

    def _select(self, query: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._lock, database_errors(self.directory):
            return self.database.execute(query, parameters).fetchall()

    def _map(self, generation: int, rows: int) -> Float32[np.ndarray, "row width"]:
        if self._mapped_generation != generation or len(self._mapped) < rows:
            shape = (rows, self.width)
            path = self.vectors_path(generation)
            if path.stat().st_size < rows * self.width * 4:
                raise DataError(
                    f"{path}: got {path.stat().st_size:,} bytes, expected at least "
                    f"{rows * self.width * 4:,}: the index is damaged"
                )
            self._mapped = (
                np.memmap(path, np.float32, "r", shape=shape)
                if rows
                else np.zeros(shape, np.float32)
            )
            self._mapped_generation = generation
        return self._mapped[:rows]


@contextmanager
def database_errors(directory: Path) -> Generator[None]:
    """One line for what SQLite reports of the block.

    Raises:
        DataError: It reports an error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise DataError(f"{directory}: the index's database: {error}") from error


def _open_database(path: Path) -> sqlite3.Connection:
    """Open an index's database; one that nobody may write to is taken as it lies there."""
    with database_errors(path.parent):
        if os.access(path.parent, os.W_OK) and os.access(path, os.W_OK):
            return connect(database_uri(path, mode="rw"))
        log = path.with_name(f"{path.name}-wal")
        is_still = not log.exists() or log.stat().st_size == 0  # a writer is at work otherwise
        return connect(database_uri(path, mode="ro", **({"immutable": "1"} if is_still else {})))


def _add_file(found: dict[int, dict[str, Any]], row: int, values: Sequence[Any]) -> None:
    digest, path, size, width, height, taken, camera, licence, text, metadata = values
    if row in found:
        found[row]["paths"].append(path)
        return
    facts = {
        "id": digest[:16], "width": width, "height": height, "size": size, "taken": taken,
        "camera": camera, "licence": licence, "text": text,
    }  # fmt: skip
    known = {key: value for key, value in facts.items() if value is not None}
    found[row] = {"paths": [path], "metadata": {**json.loads(metadata or "{}"), **known}}


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _batches(values: list[Any]) -> Generator[list[Any]]:
    for start in range(0, len(values), _SQL_BATCH):
        yield values[start : start + _SQL_BATCH]
