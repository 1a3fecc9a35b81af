"""Nearest neighbours among the vectors of an index: exact, or by codes with exact scores.

Small collections, small filters, many queries at once and very long answers are searched exactly.
Otherwise codes rule rows out, and the rest is scored exactly; rows without codes too.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from twinlens.errors import ConfigError, require
from twinlens.search.code_search import search_codes
from twinlens.search.codes import Codes
from twinlens.search.exact import Best, search_exact, select_best
from twinlens.search.vectors import check_vectors, live_rows

_EXACT_ROWS = 20_000
"""As few allowed rows are read in about the time that codes take."""

_EXACT_QUERIES = 8
"""More queries at once share one exact pass in less time than codes take for each."""

_LONG_ANSWER = 100
"""A search for one row in 100, or more, is exact: codes could rule out few."""


class Nearest:
    """A snapshot of an index's vectors, to be searched; from several threads too."""

    def __init__(
        self,
        vectors: Float32[np.ndarray, "row width"],
        holes: Int64[np.ndarray, " hole"],
        codes: Codes | None = None,
    ) -> None:
        """Take the vectors of a snapshot.

        Args:
            vectors: Unit vectors, mapped into memory.
            holes: Rows that are deleted.
            codes: Of the first rows; without, all searches are exact.
        """
        self._vectors = vectors
        self._codes = codes
        live = live_rows(len(vectors), holes) if len(holes) else None
        self._live = live
        self._live_rows = None if live is None else np.flatnonzero(live)

    def search(
        self,
        queries: Float32[np.ndarray, "query width"],
        k: int,
        *,
        allowed: Int64[np.ndarray, " allowed"] | None = None,
    ) -> tuple[Int64[np.ndarray, "query best"], Float32[np.ndarray, "query best"]]:
        """Find the rows whose vectors have the largest dot products with the queries.

        Args:
            queries: Unit vectors.
            k: Rows for each query; all that may be found if there are fewer.
            allowed: The rows that may be found, ascending, each once; without, all.

        Returns:
            Rows and their scores from -1 to 1, the best first; of equal scores the lower row.

        Raises:
            ShapeError: The queries have another width.
            DataError: A query is zero or not finite.
            ConfigError: `k` is less than 1.
        """
        require(k >= 1, "k", k, "at least 1", ConfigError)
        check_vectors(queries, len(queries), self._vectors.shape[1])
        rows = self._rows(allowed)
        found = len(self._vectors) if rows is None else len(rows)
        k = min(k, found)
        if not k or not len(queries):
            shape = len(queries), k
            return np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        exact = (
            self._codes is None
            or (rows is not None and found <= _EXACT_ROWS)
            or len(queries) > _EXACT_QUERIES
            or k * _LONG_ANSWER >= found
        )
        best = (
            search_exact(self._vectors, queries, k, rows)
            if exact
            else [self._by_codes(query, k, rows, wider=allowed is not None) for query in queries]
        )
        return np.stack([one[0] for one in best]), np.stack([one[1] for one in best])

    def _rows(self, allowed: Int64[np.ndarray, " allowed"] | None) -> NDArray[np.int64] | None:
        """The rows to search; None for all."""
        if allowed is None:
            return self._live_rows
        return allowed if self._live is None else allowed[self._live[allowed]]

    def _by_codes(
        self,
        query: Float32[np.ndarray, " width"],
        k: int,
        rows: Int64[np.ndarray, " allowed"] | None,
        *,
        wider: bool,
    ) -> Best:
        assert self._codes is not None
        coded = len(self._codes.high)
        rest = np.arange(coded, len(self._vectors))
        if rows is not None:
            border = int(np.searchsorted(rows, coded))
            rows, rest = rows[:border], rows[border:]
        parts = [search_exact(self._vectors, query[None], k, rest)[0]]
        if rows is None or len(rows):
            codes = self._codes
            parts.append(search_codes(codes, self._vectors, query, k, rows, wider=wider))
        found, scores = (np.concatenate(some) for some in zip(*parts, strict=True))
        return select_best(found, scores, k)
