"""Images decoded in batches."""

from collections.abc import Iterator

import numpy as np
import pytest

from twinlens.errors import DataError
from twinlens.images.batches import decode_batches


def read(image: object) -> np.ndarray:
    if image == b"bad":
        raise DataError("<bytes>: bad")
    return np.full((2, 2, 3), ord(image), np.uint8)  # pyright: ignore[reportArgumentType]


def first_pixels(batches: Iterator[object]) -> list[list[int]]:
    return [batch[:, 0, 0, 0].tolist() for batch in batches]  # pyright: ignore


@pytest.mark.parametrize("ahead", [True, False])
def test_batches_keep_the_order_and_count_what_failed(ahead: bool):
    images = [b"a", b"b", b"bad", b"c", b"bad", b"bad", b"d"]
    failures: dict[int, DataError] = {}
    found = first_pixels(decode_batches(images, read, 2, failures, prefetch=ahead))
    assert found == [[97, 98], [99], [100]]
    assert sorted(failures) == [2, 4, 5]


@pytest.mark.parametrize("ahead", [True, False])
def test_a_failure_that_nobody_counts_is_raised(ahead: bool):
    with pytest.raises(DataError, match="bad"):
        list(decode_batches([b"a", b"bad"], read, 2, None, prefetch=ahead))


@pytest.mark.parametrize(("ahead", "most"), [(True, 4), (False, 2)])
def test_no_more_is_asked_for_than_is_decoded(ahead: bool, most: int):
    asked = 0

    def images() -> Iterator[bytes]:
        nonlocal asked
        for letter in b"abcdefgh":
            asked += 1
            yield bytes([letter])

    given = 0
    for batch in decode_batches(images(), read, 2, None, prefetch=ahead):
        assert asked - given <= most
        given += len(batch)
    assert given == 8
