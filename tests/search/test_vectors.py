"""Checks of vectors."""

import numpy as np
import pytest

from twinlens.errors import DataError, ShapeError
from twinlens.search.vectors import check_vectors, live_rows, unusable_vectors


def test_vectors_that_no_search_finds():
    vectors = np.eye(4, dtype=np.float32)
    vectors[1] = 0
    vectors[2, 0] = np.inf
    assert unusable_vectors(vectors).tolist() == [False, True, True, False]
    with pytest.raises(DataError, match=r"got 2 that are zero or not finite \(the first"):
        check_vectors(vectors, 4, 4)
    with pytest.raises(ShapeError, match=r"got \[4, 4\]"):
        check_vectors(vectors, 4, 8)


def test_rows_that_are_images():
    assert live_rows(4, np.array([1, 3])).tolist() == [True, False, True, False]
