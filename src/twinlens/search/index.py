"""`Index`: a directory of image vectors that is kept up to date and searched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from twinlens.errors import DataError, os_errors_as
from twinlens.search.codes import open_codes, update_codes
from twinlens.search.identity import Identity, check_same_model
from twinlens.search.nearest import Nearest
from twinlens.search.query import Query, as_query, mixture, part_vectors
from twinlens.search.results import (
    MinScore,
    PathInputs,
    Result,
    as_names,
    check_options,
    least_score,
    make_results,
)
from twinlens.search.store import DATABASE, MovedError, Snapshot, Store
from twinlens.search.where import Filter, parse_filter
from twinlens.search.writer import CALIBRATION, require_free, writer_lock, writing
from twinlens.types import no_progress

if TYPE_CHECKING:
    from twinlens.embed.embedder import Embedder
    from twinlens.search.calibrate import Cutoff, SearchCalibration
    from twinlens.search.sources import SourceFiles
    from twinlens.search.update import UpdateCounts
    from twinlens.search.writer import Writer
    from twinlens.types import Embeddings, ImageInput, ProgressCallback

_MAX_CAPTIONS = 20_000
"""Captions that calibration reads."""

_MAX_DRIFT = 0.1
"""Share of the images that may come or go before an index is calibrated again."""

_MAX_HOLES = 0.25
"""Share of deleted rows above which an update compacts."""


class Index:
    """An index of images: a directory of vectors, metadata and the model that made them.

    Readers see the last whole change, and follow new ones by themselves; a writer never blocks
    them. Threads may share an index.
    """

    def __init__(self, store: Store, embedder: Embedder | None = None) -> None:
        self.store = store
        self.identity = Identity.from_facts(store.about())
        self._embedder = embedder
        self._checked: set[bool] = set()  # False: the text tower; True: the image tower
        self._searched: tuple[Snapshot, Nearest] | None = None
        self._calibrated: tuple[int, SearchCalibration] | None = None

    @classmethod
    def open(cls, path: str | Path, embedder: Embedder | None = None) -> Index:
        """Open an index.

        Args:
            path: Its directory.
            embedder: The model that answers; by default the index's own, loaded when a query
                needs it.

        Raises:
            DataError: There is no index, or one of another version.
        """
        return cls(Store(Path(path).expanduser()), embedder)

    @classmethod
    def create(cls, path: str | Path, embedder: Embedder, model: str) -> Index:
        """Make an empty index, or open the one that is there.

        Args:
            path: Its directory: new, empty or an index.
            embedder: A model with both towers.
            model: The model's name, as `load` takes it.

        Raises:
            DataError: The directory holds other files, or an index of another model.
        """
        directory = Path(path).expanduser()
        if not (directory / DATABASE).is_file():
            require_free(directory)
            identity = Identity.of(embedder, model)
            directory.mkdir(parents=True, exist_ok=True)
            with writer_lock(directory):
                if not (directory / DATABASE).is_file():
                    Store.create(directory, embedder.config.embed_dim, identity.facts()).close()
        return cls.open(directory, embedder)

    def __len__(self) -> int:
        """The number of images, each once however many paths it has."""
        return self.store.read().num_images

    @property
    def embedder(self) -> Embedder:
        """The model that answers, loaded when it is first asked for."""
        if self._embedder is None:
            from twinlens.embed.loading import load  # noqa: PLC0415  rows alone need no model

            self._embedder = load(self.identity.model)
        return self._embedder

    def update(
        self,
        sources: str | Path | Iterable[str | Path] = (),
        *,
        progress: ProgressCallback = no_progress,
    ) -> UpdateCounts:
        """Index what is new or changed of folders and data sets, and remove what is gone.

        Args:
            sources: Folders, images, globs or SPECs; by default those of earlier updates.
            progress: Called with (done, total, source) while images are read.

        Raises:
            DataError: There are no such sources or no images, another process is writing, the
                model is another than the index's, or the index cannot be written.
        """
        from twinlens.search.sources import open_source  # noqa: PLC0415

        names = as_names(sources) or self.store.sources()
        if not names:
            raise DataError(f"{self.store.directory}: got no sources, expected folders of images")
        listings = [open_source(name) for name in names]  # all of them before any is changed
        self.check_model()
        return self._update(listings, progress)

    def _update(self, listings: Sequence[SourceFiles], progress: ProgressCallback) -> UpdateCounts:
        from twinlens.search.update import UpdateCounts, update_source  # noqa: PLC0415

        counts = UpdateCounts()
        with writing(self.store) as writer:
            for listing in listings:

                def report(done: int, total: int, what: str = "", spec: str = listing.spec) -> None:
                    progress(done, total, what or spec)

                update_source(writer, self.embedder, listing, counts, report)
            snapshot = self.store.read()
            if len(snapshot.holes) > _MAX_HOLES * len(snapshot.vectors):
                writer.compact()
            self._update_codes()
            self._calibrate(writer)
        return counts

    def _calibrate(self, writer: Writer) -> None:
        """Measure the collection again where a tenth of it has changed since."""
        snapshot = self.store.read()
        calibrated = int(self.store.about().get("calibrated_images", 0))
        change = abs(snapshot.num_images - calibrated)
        with suppress(DataError):  # a damaged file is made anew
            if self._calibration() is not None and change <= _MAX_DRIFT * calibrated:
                return
        if not snapshot.num_images:
            return
        from twinlens.search.calibrate import calibrate  # noqa: PLC0415

        captions: list[str | None] = [None] * len(snapshot.vectors)
        for row, text in self.store.texts(_MAX_CAPTIONS):
            captions[row] = text.partition("\n")[0]
        live = np.ones(len(snapshot.vectors), bool)
        live[snapshot.holes] = False
        measured = calibrate(snapshot.vectors, self.embedder, captions, live=live)
        with os_errors_as(DataError, self._calibration_path, "cannot be written"):
            measured.save(self._calibration_path)
        writer.set_fact("calibrated_images", str(snapshot.num_images))

    @property
    def _calibration_path(self) -> Path:
        return self.store.directory / CALIBRATION

    def _calibration(self) -> SearchCalibration | None:
        """The calibration as it is now; None of an index that has no images yet."""
        try:
            modified = self._calibration_path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if self._calibrated is None or self._calibrated[0] != modified:
            from twinlens.search.calibrate import SearchCalibration  # noqa: PLC0415

            self._calibrated = modified, SearchCalibration.load(self._calibration_path)
        return self._calibrated[1]

    def remove(self, paths: PathInputs) -> int:
        """Remove files, or all files below folders, from the index; they stay on disk.

        Returns:
            The number of files.

        Raises:
            DataError: One is not in the index; then none is removed.
        """
        removed = 0
        with writing(self.store) as writer, self.store.transaction():
            for path in as_names(paths):
                absolute = os.path.abspath(Path(path).expanduser())  # noqa: PTH100
                count = sum(map(writer.remove_below, {path, absolute}))
                if not count:
                    raise DataError(
                        f"{path}: got no file of the index, expected a file or a folder in it"
                    )
                removed += count
        return removed

    def compact(self) -> int:
        """Close the gaps that deleted images left; returns how many there were."""
        with writing(self.store) as writer:
            closed = writer.compact()
            self._update_codes()
        return closed

    def _update_codes(self) -> None:
        """Make codes of a large index, or bring them up to its vectors."""
        snapshot = self.store.read()
        with os_errors_as(DataError, self.store.directory, "cannot be written"):
            update_codes(
                self.store.directory, str(snapshot.generation), snapshot.vectors, snapshot.holes
            )

    def check_model(self) -> None:
        """Make sure, once, that both towers of the model are the index's.

        Raises:
            DataError: It is another model.
        """
        if True not in self._checked:
            check_same_model(self.identity, self.embedder, self.store.directory)
            self._checked |= {True, False}

    def search(
        self,
        query: Any,
        k: int = 10,
        *,
        offset: int = 0,
        where: str | None = None,
        min_score: MinScore = "auto",
    ) -> list[Result]:
        """Find the images that fit a query best, best first.

        Args:
            query: Words; an image, as a `Path` or an array; weights of words; or a `Query`.
            k: Largest number of results.
            offset: The number of results to pass over, for pages.
            where: A filter of metadata, as "width > 500 AND taken >= '2024-01-01'". The results
                are then the best `k` of all that match, however few.
            min_score: Least cosine similarity; "auto" is the index's calibrated cut-off, None
                is none.

        Raises:
            ConfigError: The filter or a number is wrong.
            DataError: The model is another than the index's, an image cannot be read, or a text
                is longer than the model's context.
        """
        return self.search_many([query], k, offset=offset, where=where, min_score=min_score)[0]

    def search_many(
        self,
        queries: Sequence[Any],
        k: int = 10,
        *,
        offset: int = 0,
        where: str | None = None,
        min_score: MinScore = "auto",
    ) -> list[list[Result]]:
        """The results of several queries: see `search`."""
        wanted = [as_query(one) for one in ([queries] if isinstance(queries, str) else queries)]
        check_options(k, offset, where, min_score)
        if not wanted:
            return []
        parts = self._embed(wanted)
        vectors = np.stack(
            [mixture(one.parts, own) for one, own in zip(wanted, parts, strict=True)]
        )
        cutoffs = self._cutoffs(wanted, parts)
        while True:
            with suppress(MovedError):
                return self._search(vectors, cutoffs, (k, offset), where, min_score)
            self.store.read()  # fails where the vectors are missing altogether

    def read_image(self, path: str) -> ImageInput:
        """The image of a result: its path, or its bytes where it lies in a data set.

        Raises:
            DataError: It is no longer there.
        """
        from twinlens.search.sources import read_sample  # noqa: PLC0415

        place = self.store.place(path)
        if place is None or place[1] < 0:
            return Path(path)
        return read_sample(*place, path)

    def _search(
        self,
        vectors: Float32[np.ndarray, "query width"],
        cutoffs: Sequence[Cutoff | None],
        page: tuple[int, int],
        where: str | None,
        min_score: MinScore,
    ) -> list[list[Result]]:
        """The results; MovedError if a writer has moved or removed one meanwhile."""
        k, offset = page
        with self.store.transaction("DEFERRED"):
            snapshot = self.store.read()
            condition = self._filter(where)
            allowed = None if condition is None else self.store.matching_rows(condition)
        rows, scores = self._nearest(snapshot).search(vectors, k + offset, allowed=allowed)
        with self.store.transaction("DEFERRED"):
            now = self.store.read()
            if now.generation != snapshot.generation:
                raise MovedError
            results: list[list[Result]] = []
            for own_rows, own_scores, cutoff in zip(rows, scores, cutoffs, strict=True):
                least = least_score(min_score, cutoff)
                kept = np.flatnonzero(own_scores >= least)[offset : offset + k]
                described = self.store.describe(own_rows[kept].tolist(), condition)
                if len(described) < len(kept):
                    raise MovedError
                results.append(make_results(described, own_scores[kept], cutoff))
        return results

    def _nearest(self, snapshot: Snapshot) -> Nearest:
        """The vectors of a snapshot to be searched, with their codes where there are any."""
        if self._searched is None or self._searched[0] is not snapshot:
            codes = open_codes(self.store.directory, str(snapshot.generation))
            codes = codes and codes.of_first(len(snapshot.vectors))
            self._searched = snapshot, Nearest(snapshot.vectors, snapshot.holes, codes)
        return self._searched[1]

    def _filter(self, where: str | None) -> Filter | None:
        return None if where is None else parse_filter(where, self.store.columns())

    def _embed(self, queries: Sequence[Query]) -> list[list[Float32[np.ndarray, " width"]]]:
        """The unit vectors of the parts of queries."""
        return part_vectors(queries, self._embed_texts, self._embed_images, self._vector_of)

    def _embed_texts(self, texts: Sequence[str]) -> Embeddings:
        if self._checked:
            return self.embedder.embed_texts(texts)
        found = check_same_model(
            self.identity, self.embedder, self.store.directory, images=False, texts=texts
        )
        self._checked.add(False)
        return found

    def _embed_images(self, images: Sequence[ImageInput]) -> Embeddings:
        self.check_model()
        return self.embedder.embed_images(images)

    def _cutoffs(
        self, queries: Sequence[Query], vectors: Sequence[Sequence[Float32[np.ndarray, " width"]]]
    ) -> list[Cutoff | None]:
        """The calibration of each query's cosines; none of one that says what not to show."""
        calibration = self._calibration()
        if calibration is None:
            return [None] * len(queries)
        from twinlens.search.calibrate import QueryPart  # noqa: PLC0415

        return [
            calibration.cutoff(
                [
                    QueryPart(vector, "text" if part.kind == "text" else "image", part.weight)
                    for part, vector in zip(query.parts, own, strict=True)
                ]
            )
            if all(part.weight >= 0 for part in query.parts)
            else None
            for query, own in zip(queries, vectors, strict=True)
        ]

    def _vector_of(self, image_id: str) -> Float32[np.ndarray, " width"]:
        """The vector of an image of the index.

        Raises:
            DataError: No image, or more than one, has such an id.
        """
        rows: list[int] = []
        while True:
            with suppress(MovedError), self.store.transaction("DEFERRED"):
                rows = self.store.rows_by_hash_prefix(image_id)
                if len(rows) == 1:
                    return np.array(self.store.read().vectors[rows[0]])
                break
        got = f"{len(rows):,} images of this id" if rows else "no image of this id"
        raise DataError(f"--image: {image_id}: got {got} in the index, expected one")
