"""Bringing an index up to date with its sources: what is new, what changed, what is gone.

The list of a source goes into a temporary table of the database, and what is to be done is a join
of tables: memory does not grow with the number of images. Images are read in chunks; each chunk is
one whole change, so that a run that is killed has kept what it had done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.data.left_out import LeftOut
from twinlens.errors import DataError
from twinlens.hardware import usable_cpu_count
from twinlens.images.facts import ImageFacts, read_facts
from twinlens.search.sources import SourceFiles, read_encoded, require_images
from twinlens.search.tables import encode_text, plain_metadata
from twinlens.search.vectors import unusable_vectors
from twinlens.search.writer import IndexedFile, NewImage, Writer
from twinlens.types import no_progress

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder
    from twinlens.types import Embeddings, ImageInput, ProgressCallback

CHUNK = 512
"""Images that are read, embedded and written as one change."""

_LIST_CHUNK = 4_096

_CHANGED_WHILE_READ = "file that changed while it was read: the next run takes it"

_FOUND = """
CREATE TEMP TABLE found (
    number INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER, modified INTEGER,
    text TEXT, metadata TEXT, item INTEGER
)
"""
_TO_READ = """
CREATE TEMP TABLE to_read AS
SELECT number, found.path AS path, found.size AS size, found.modified AS modified,
    found.text AS text, found.metadata AS metadata, found.item AS item,
    images.hash AS hash, notes.metadata IS found.metadata AND notes.text IS found.text AS is_told
FROM found LEFT JOIN files USING (path) LEFT JOIN images USING (row) LEFT JOIN notes USING (path)
    LEFT JOIN unreadable USING (path)
WHERE found.size < 0
    OR (files.path IS NULL AND (unreadable.path IS NULL
        OR unreadable.size != found.size OR unreadable.modified != found.modified))
    OR (files.path IS NOT NULL AND (files.size != found.size OR files.modified != found.modified
        OR notes.text IS NOT found.text OR notes.metadata IS NOT found.metadata))
ORDER BY number
"""


@dataclass(slots=True)
class UpdateCounts:
    """The numbers of an update.

    Attributes:
        added: Files that the index had not got.
        changed: Files whose image or metadata is another.
        removed: Files that are gone.
        unchanged: Files that are as they were.
        duplicates: Of those added, the files of an image that was there under another path.
        unreadable: Files that cannot be indexed, by reason; those of earlier updates too.
        left_out: Files of a folder that are no candidates, by reason.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    duplicates: int = 0
    unreadable: LeftOut = field(default_factory=LeftOut)
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to be read.

    Attributes:
        file: As it was listed.
        hash: Its image's hash when it was indexed; None if it was not.
        is_told: True if the index has its caption and metadata as they are now.
    """

    file: IndexedFile
    hash: str | None
    is_told: bool


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read: the hash of its bytes and the facts of its image; or the error."""

    found: _Found
    hash: str = ""
    facts: ImageFacts | None = None
    error: str = ""


def update_source(
    writer: Writer,
    embedder: Embedder,
    listing: SourceFiles,
    counts: UpdateCounts,
    progress: ProgressCallback = no_progress,
) -> None:
    """Index what is new or changed of a source, and remove what is gone.

    Args:
        writer: The index's writer.
        embedder: Its model.
        listing: The source.
        counts: Gets the numbers, added to those of other sources.
        progress: Called with the number of files read.

    Raises:
        DataError: The source has no images, or the index cannot be written.
    """
    with _found_files(writer, listing) as (num_found, num_to_read):
        require_images(listing, num_found, _num_known(writer, listing))
        writer.add_source(listing.spec)
        counts.unchanged += _num_unchanged(writer)
        done = 0
        with ThreadPoolExecutor(usable_cpu_count()) as pool:
            for chunk in _chunks(writer, listing):
                read = list(pool.map(partial(_read, listing), chunk))
                _index_chunk(writer, embedder, listing, read, counts)
                done += len(chunk)
                progress(done, num_to_read)
        # At the end: the image of a file that was moved is still there, and need not be embedded.
        counts.removed += _remove_gone(writer, listing)
    counts.left_out.merge(listing.left_out)
    _count_unreadable(writer, listing, counts)


@contextmanager
def _found_files(writer: Writer, listing: SourceFiles) -> Generator[tuple[int, int]]:
    """List a source into temporary tables; the number of files, and of those to be read."""
    database = writer.store.database
    database.execute(_FOUND)
    try:
        files = listing.files()
        while chunk := list(islice(files, _LIST_CHUNK)):
            with writer.store.transaction():
                database.executemany(
                    "INSERT OR IGNORE INTO found (path, size, modified, text, metadata, item) "
                    "VALUES (CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), ?, ?)",
                    [_found_values(file) for file in chunk],
                )
        database.execute(_TO_READ)
        yield tuple(
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("found", "to_read")
        )
    finally:
        database.execute("DROP TABLE IF EXISTS found")
        database.execute("DROP TABLE IF EXISTS to_read")


def _found_values(file: IndexedFile) -> tuple[Any, ...]:
    told = bool(file.metadata or file.text)  # as the index's notes have it
    metadata = json.dumps(plain_metadata(file.metadata)) if told else None
    text = encode_text(file.text)
    return encode_text(file.path), file.size, file.modified, text, metadata, file.item


def _scope(listing: SourceFiles) -> tuple[str, list[Any]]:
    """The index's files of a source in SQL: those found in it, and those below its folder."""
    spec = encode_text(listing.spec)
    below = encode_text(listing.spec.rstrip("/") + "/")
    clause = (
        "(source = CAST(? AS TEXT) OR (substr(path, 1, length(CAST(? AS TEXT))) = CAST(? AS TEXT) "
        # Of a folder or a file: what a table or a tar names is not the folder's to remove.
        "AND substr(path, 1, length(source)) = source "
        "AND substr(path, length(source) + 1, 1) IN ('/', '')))"
    )
    return clause, [spec, below, below]


def _num_known(writer: Writer, listing: SourceFiles) -> int:
    clause, parameters = _scope(listing)
    query = f"SELECT count(*) FROM files WHERE {clause}"
    return writer.store.database.execute(query, parameters).fetchone()[0]


def _remove_gone(writer: Writer, listing: SourceFiles) -> int:
    """Remove files that are gone; those in folders that could not be read stay."""
    clause, parameters = _scope(listing)
    clause += " AND path NOT IN (SELECT path FROM found)"
    for folder in listing.unlisted:
        clause += " AND substr(path, 1, length(CAST(? AS TEXT))) != CAST(? AS TEXT)"
        parameters += [encode_text(folder)] * 2
    return writer.remove_where(clause, parameters)


def _num_unchanged(writer: Writer) -> int:
    query = (
        "SELECT count(*) FROM found JOIN files USING (path) "
        "WHERE number NOT IN (SELECT number FROM to_read)"
    )
    return writer.store.database.execute(query).fetchone()[0]


def _chunks(writer: Writer, listing: SourceFiles) -> Iterator[list[_Found]]:
    last = 0
    query = "SELECT rowid, * FROM to_read WHERE rowid > ? ORDER BY rowid LIMIT ?"
    while rows := writer.store.database.execute(query, (last, CHUNK)).fetchall():
        last = rows[-1][0]
        yield [_found(listing, row) for row in rows]


def _found(listing: SourceFiles, values: Any) -> _Found:
    _, _, path, size, modified, text, metadata, item, digest, is_told = values
    file = IndexedFile(
        path=path, size=size, modified=modified, source=listing.spec, item=item, text=text,
        metadata=json.loads(metadata) if metadata else {},
    )  # fmt: skip
    return _Found(file, digest, bool(is_told))


def _read(listing: SourceFiles, found: _Found) -> _Read:
    try:
        data = read_encoded(listing.image(found.file))
        digest = hashlib.sha256(data).hexdigest()
        return _Read(found, digest, None if digest == found.hash else read_facts(data))
    except DataError as error:
        return _Read(found, error=_reason(error, found.file.path))


def _reason(error: DataError, path: str) -> str:
    """The error without the file's name, so that files of one reason are counted together."""
    return str(error).removeprefix(f"{path}: ").removeprefix("<bytes>: ")


def _index_chunk(
    writer: Writer,
    embedder: Embedder,
    listing: SourceFiles,
    read: list[_Read],
    counts: UpdateCounts,
) -> None:
    errors = {id(one): one.error for one in read if one.error}
    good = [one for one in read if not one.error]
    known = writer.store.rows_by_hash({one.hash for one in good})
    new = {one.hash: one for one in reversed(good) if one.hash not in known}
    ordered = [one for one in good if new.get(one.hash) is one]
    vectors, failed = _embed(embedder, listing, ordered)
    for one in good:
        if one.hash in failed:
            errors[id(one)] = failed[one.hash]
        elif _is_other_file(one.found.file):
            errors[id(one)] = _CHANGED_WHILE_READ
    kept = [one for one in good if id(one) not in errors]
    hashes = {one.hash for one in kept}
    used = [place for place, one in enumerate(ordered) if one.hash in hashes]
    writer.add(
        [_new_image(ordered[place]) for place in used],
        vectors[used],
        [(one.found.file, one.hash) for one in kept],
    )
    _count(kept, known, counts)
    _note_errors(writer, read, errors, counts)


def _embed(
    embedder: Embedder, listing: SourceFiles, read: list[_Read]
) -> tuple[Embeddings, dict[str, str]]:
    """The vectors of new images, a row each; and why some have none, by their hash."""
    images = (_image_again(listing, one.found.file) for one in read)
    found, failures = embedder.embed_readable_images(images)
    vectors = np.zeros((len(read), embedder.config.embed_dim), np.float32)
    vectors[[place for place in range(len(read)) if place not in failures]] = found
    failed = {
        read[place].hash: _reason(error, read[place].found.file.path)
        for place, error in failures.items()
    }
    for place in np.flatnonzero(unusable_vectors(vectors)).tolist():
        failed.setdefault(read[place].hash, "image whose embedding is zero or not finite")
    return vectors, failed


def _image_again(listing: SourceFiles, file: IndexedFile) -> ImageInput:
    """An image that was read before; nothing, which counts as unreadable, if it has gone since."""
    try:
        return listing.image(file)
    except DataError:
        return b""


def _is_other_file(file: IndexedFile) -> bool:
    """True if a file is not as it was listed: its hash and its vector may be of two images."""
    if file.size < 0:
        return False
    try:
        status = Path(file.path).stat()
    except OSError:
        return True
    return (status.st_size, status.st_mtime_ns) != (file.size, file.modified)


def _new_image(read: _Read) -> NewImage:
    facts = read.facts
    assert facts is not None
    return NewImage(
        hash=read.hash,
        width=facts.width,
        height=facts.height,
        taken=facts.taken,
        camera=facts.camera,
        licence=facts.licence,
    )


def _count(kept: list[_Read], known: dict[str, int], counts: UpdateCounts) -> None:
    seen = set(known)
    for one in kept:
        if one.found.hash is None:
            counts.added += 1
            counts.duplicates += one.hash in seen
        elif one.hash != one.found.hash or not one.found.is_told:
            counts.changed += 1
        else:
            counts.unchanged += 1
        seen.add(one.hash)


def _note_errors(
    writer: Writer, read: list[_Read], errors: dict[int, str], counts: UpdateCounts
) -> None:
    """Remember what is wrong with files themselves; other errors are tried again next time."""
    lasting: list[tuple[IndexedFile, str]] = []
    for one in read:
        reason = errors.get(id(one))
        if reason is None:
            continue
        if reason == _CHANGED_WHILE_READ or "cannot be read: " in reason or one.found.file.size < 0:
            counts.unreadable.add(reason, one.found.file.path)
        else:
            lasting.append((one.found.file, reason))
    if lasting:
        writer.note_unreadable(lasting)


def _count_unreadable(writer: Writer, listing: SourceFiles, counts: UpdateCounts) -> None:
    clause, parameters = _scope(listing)
    query = f"SELECT reason, path FROM unreadable WHERE {clause} ORDER BY path"
    for reason, path in writer.store.database.execute(query, parameters):
        counts.unreadable.add(reason, path)
