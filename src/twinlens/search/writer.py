"""Changes of a store: one writer at a time, each change whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from twinlens.errors import DataError, os_errors_as
from twinlens.locks import LockHeldError, file_lock
from twinlens.search.store import DATABASE, Store
from twinlens.search.tables import ColumnType, encode_text, plain_metadata, widen_types
from twinlens.search.vectors import check_vectors

LOCK = "writer.lock"
CALIBRATION = "calibration.npz"
_OURS = (DATABASE, LOCK, CALIBRATION, "vectors-", "codes-")
"""Beginnings of the names of an index's files."""

_COPY_ROWS = 65_536
"""Vectors that compaction copies at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image that the index has not got yet, without its vector.

    Attributes:
        hash: SHA-256 of its file's bytes, hexadecimal: the same image under two paths is one row.
        width: In pixels, upright.
        height: In pixels, upright.
        taken: When it was taken, as "2024-05-31T12:00:00".
        camera: Make and model.
        licence: As the file states it.
    """

    hash: str
    width: int
    height: int
    taken: str | None = None
    camera: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFile:
    """A file, or an image's place in a data set, as it was indexed.

    Attributes:
        path: Absolute; or the image's place in words.
        size: In bytes; -1 of what is no file of its own.
        modified: Time of the last change in nanoseconds since 1970; -1 likewise.
        source: The folder or data set that it was found in.
        item: Its place among the data set's samples; -1 in a folder.
        text: Its caption.
        metadata: What else the input says of it.
    """

    path: str
    size: int
    modified: int
    source: str = ""
    item: int = -1
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def require_free(directory: Path) -> None:
    """Refuse a directory for a new index that holds other files.

    Raises:
        DataError: It does, or it is no directory.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DataError(f"{directory}: got a file, expected a directory for the index")
    others = [one.name for one in directory.iterdir() if not one.name.startswith(_OURS)]
    if others:
        raise DataError(
            f"{directory}: got a directory with other files ({min(others)}), expected a new or "
            "an empty one, or an index"
        )


@contextmanager
def writing(store: Store) -> Generator[Writer]:
    """Change an index as its only writer; what a killed one left is removed first.

    Raises:
        DataError: Another process is writing, or the directory cannot be written.
    """
    with writer_lock(store.directory):
        writer = Writer(store)
        writer.sweep()
        yield writer


@contextmanager
def writer_lock(directory: Path) -> Generator[None]:
    """Hold the lock of a directory's only writer, which ends with its process.

    Raises:
        DataError: Another process is writing, or the directory cannot be written.
    """
    try:
        with (
            os_errors_as(DataError, directory, "cannot be written"),
            file_lock(directory / LOCK),
        ):
            yield
    except LockHeldError as error:
        raise DataError(
            f"{directory}: is being written by {error}: wait for it, or stop it"
        ) from error


class Writer:
    """Changes of a store; made by `writing`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._database = store.database

    def add(
        self,
        images: Sequence[NewImage],
        vectors: Float32[np.ndarray, "image width"],
        files: Sequence[tuple[IndexedFile, str]],
    ) -> None:
        """Add images and files in one step: all of them, or after a crash none.

        Args:
            images: Images that are not there yet, each hash once.
            vectors: Their unit vectors.
            files: Files, each with the hash of its image, which is one of `images` or is there; a
                file of a path that is there replaces it.

        Raises:
            ShapeError: The vectors have another width.
            DataError: A vector is zero or not finite, or the disk is full.
        """
        check_vectors(vectors, len(images), self.store.width)
        first = self._append(vectors) if len(images) else int(self.store.about()["rows"])
        with self.store.transaction():
            self._database.executemany(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)",
                [_image_values(first + n, image) for n, image in enumerate(images)],
            )
            self._write_files(files)
            self._set("rows", first + len(images))
            self._drop_images_without_files()
            self._next_version()

    def note_unreadable(self, files: Sequence[tuple[IndexedFile, str]]) -> None:
        """Remember files that cannot be indexed, each with the reason, until they change."""
        with self.store.transaction():
            paths = [(encode_text(file.path),) for file, _ in files]
            self._database.executemany("DELETE FROM files WHERE path = CAST(? AS TEXT)", paths)
            self._database.executemany(
                "INSERT OR REPLACE INTO unreadable VALUES "
                "(CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), CAST(? AS TEXT))",
                [
                    (encode_text(one.path), one.size, one.modified, encode_text(one.source),
                     encode_text(reason))
                    for one, reason in files
                ],
            )  # fmt: skip
            self._drop_images_without_files()
            self._next_version()

    def add_source(self, spec: str) -> None:
        """Remember a folder or data set that the index is made of."""
        with self.store.transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO sources VALUES (CAST(? AS TEXT))", [encode_text(spec)]
            )

    def forget_source(self, spec: str) -> None:
        """Forget a folder or data set, and those below it; its files stay in the index."""
        spec_text, below = encode_text(spec), encode_text(spec.rstrip("/") + "/")
        with self.store.transaction():
            self._database.execute(
                "DELETE FROM sources WHERE spec = CAST(? AS TEXT) "
                "OR substr(spec, 1, length(CAST(? AS TEXT))) = CAST(? AS TEXT)",
                [spec_text, below, below],
            )

    def remove_files(self, paths: Iterable[str]) -> int:
        """Remove files, and images that have no file any more; returns how many there were."""
        removed = 0
        with self.store.transaction():
            for path in paths:
                for table in ("files", "unreadable"):
                    cursor = self._database.execute(
                        f"DELETE FROM {table} WHERE path = CAST(? AS TEXT)",
                        [encode_text(path)],
                    )
                    removed += cursor.rowcount
            self._drop_images_without_files()
            self._next_version()
        return removed

    def remove_where(self, condition: str, parameters: Sequence[Any] = ()) -> int:
        """Remove the files of which a condition of our own in SQL is true; returns how many."""
        with self.store.transaction():
            counts = [
                self._database.execute(
                    f"DELETE FROM {table} WHERE {condition}", parameters
                ).rowcount
                for table in ("files", "unreadable")
            ]
            self._drop_images_without_files()
            self._next_version()
        return sum(counts)

    def remove_below(self, path: str) -> int:
        """Remove a file, or all below a folder, and forget sources there; returns how many."""
        below = encode_text(path.rstrip("/") + "/")
        condition = (
            "path = CAST(? AS TEXT) OR substr(path, 1, length(CAST(? AS TEXT))) = CAST(? AS TEXT)"
        )
        removed = self.remove_where(condition, [encode_text(path), below, below])
        self.forget_source(path)
        return removed

    def set_fact(self, key: str, value: str) -> None:
        """Change a fact about the index."""
        with self.store.transaction():
            self._set(key, value)

    def compact(self) -> int:
        """Close the holes; returns their number. Readers keep what they have mapped."""
        snapshot = self.store.read()
        if not len(snapshot.holes):
            return 0
        generation = snapshot.generation + 1
        kept = np.delete(np.arange(len(snapshot.vectors)), snapshot.holes)
        with (
            os_errors_as(DataError, self.store.directory, "cannot be written"),
            self.store.vectors_path(generation).open("wb") as file,
        ):
            for start in range(0, len(kept), _COPY_ROWS):
                rows = kept[start : start + _COPY_ROWS]
                file.write(np.ascontiguousarray(snapshot.vectors[rows]).data)
            file.flush()
            os.fsync(file.fileno())
        # Rows move towards the beginning, in order: none meets one that has not moved yet.
        moved = [(new, int(old)) for new, old in enumerate(kept) if new != old]
        with self.store.transaction():
            self._database.executemany("UPDATE files SET row = ? WHERE row = ?", moved)
            self._database.executemany("UPDATE images SET row = ? WHERE row = ?", moved)
            self._database.execute("DELETE FROM holes")
            self._set("rows", len(kept))
            self._set("generation", generation)
            self._next_version()
        self.sweep()
        return len(snapshot.holes)

    def sweep(self) -> None:
        """Remove files that a killed writer or an older generation left behind."""
        directory = self.store.directory
        current = self.store.vectors_path(self.store.about()["generation"])
        stale = [path for path in directory.glob("vectors-*.f32") if path != current]
        for path in [*stale, *directory.glob(f"{DATABASE}.*.partial")]:
            with suppress(OSError):
                path.unlink()

    def _append(self, vectors: Float32[np.ndarray, "image width"]) -> int:
        """Write vectors after those that rows point at, to the disk; returns the first's row."""
        about = self.store.about()
        first = int(about["rows"])
        with (
            os_errors_as(DataError, self.store.directory, "cannot be written"),
            self.store.vectors_path(about["generation"]).open("r+b") as file,
        ):
            file.seek(first * self.store.width * 4)
            file.write(np.ascontiguousarray(vectors, np.float32).data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        return first

    def _write_files(self, files: Sequence[tuple[IndexedFile, str]]) -> None:
        metadata = [plain_metadata(file.metadata) for file, _ in files]
        columns = self._widen_columns(metadata)
        paths = [(encode_text(file.path),) for file, _ in files]
        for table in ("files", "notes", "unreadable"):
            self._database.executemany(f"DELETE FROM {table} WHERE path = CAST(? AS TEXT)", paths)
        names = ["path", "row", "size", "modified", "source", "item", *columns.values()]
        marks = ", ".join(["CAST(? AS TEXT), row, ?, ?, CAST(? AS TEXT), ?", *["?"] * len(columns)])
        self._database.executemany(
            f"INSERT INTO files ({', '.join(names)}) SELECT {marks} FROM images WHERE hash = ?",
            [
                (encode_text(file.path), file.size, file.modified, encode_text(file.source),
                 file.item, *(_cell(values.get(name)) for name in columns), digest)
                for (file, digest), values in zip(files, metadata, strict=True)
            ],
        )  # fmt: skip
        self._database.executemany(
            "INSERT INTO notes VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?)",
            [
                (encode_text(file.path), encode_text(file.text), json.dumps(values))
                for (file, _), values in zip(files, metadata, strict=True)
                if file.text or values
            ],
        )

    def _widen_columns(self, metadata: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Make columns wide enough for new values; the place of each among those of the files."""
        known = {
            name: (kind, place)
            for name, kind, place in self._database.execute("SELECT * FROM columns")
        }
        types: dict[str, ColumnType] = {name: kind for name, (kind, _) in known.items()}
        for values in metadata:
            widen_types(types, values)
        for name, kind in types.items():
            if name not in known:
                place = f"c{len(known)}"
                self._database.execute(f"ALTER TABLE files ADD COLUMN {place}")
                known[name] = kind, place
            self._database.execute(
                "INSERT OR REPLACE INTO columns VALUES (?, ?, ?)", (name, kind, known[name][1])
            )
        return {name: place for name, (_, place) in known.items()}

    def _drop_images_without_files(self) -> None:
        alone = (
            "SELECT row FROM loose "
            "WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.row = loose.row)"
        )
        self._database.execute(f"INSERT INTO holes {alone}")
        self._database.execute(f"DELETE FROM images WHERE row IN ({alone})")
        self._database.execute("DELETE FROM loose")

    def _next_version(self) -> None:
        self._database.execute("UPDATE about SET value = value + 1 WHERE key = 'version'")

    def _set(self, key: str, value: object) -> None:
        self._database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, str(value)))


def _cell(value: Any) -> Any:
    """A value in a column of its own: a list or a dictionary has none."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if isinstance(value, int | float) else None


def _image_values(row: int, image: NewImage) -> tuple[Any, ...]:
    facts = (image.taken, image.camera, image.licence)
    return (row, image.hash, image.width, image.height, *facts)
