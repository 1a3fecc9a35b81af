"""Bits in blocks: written, mapped, compared as a plain count of differing bits."""

from pathlib import Path

import numpy as np
import pytest

from twinlens.search.bit_blocks import BLOCK_ROWS, BitBlocks, append_bits, weighted_counts

RNG = np.random.default_rng(0)


def words(*shape: int) -> np.ndarray:
    return RNG.integers(0, 2**64, shape, dtype=np.uint64)


@pytest.mark.parametrize("steps", [(10,), (10, 1), (BLOCK_ROWS, 5), (3, 2 * BLOCK_ROWS, 7)])
def test_appended_bits_come_back(tmp_path: Path, steps: tuple[int, ...]):
    path = tmp_path / "bits"
    path.touch()
    whole = words(sum(steps), 2)
    done = 0
    for step in steps:
        append_bits(path, done, whole[done : done + step])
        done += step
        mapped = BitBlocks.open(path, done, 2)
        assert len(mapped) == done
        np.testing.assert_array_equal(mapped.by_row(), whole[:done])
    assert len(mapped.first(5)) == 5
    np.testing.assert_array_equal(mapped.first(5).by_row(), whole[:5])
    rows = np.array([0, done // 2, done - 1])
    np.testing.assert_array_equal(mapped.of(rows), whole[rows].T)


def test_no_rows(tmp_path: Path):
    path = tmp_path / "bits"
    path.touch()
    append_bits(path, 0, words(0, 2))
    assert BitBlocks.open(path, 0, 2).by_row().shape == (0, 2)


@pytest.mark.parametrize(
    ("bits", "codes", "num_words"), [(1, 1, 1), (2, 1, 8), (4, 2, 8), (4, 2, 32)]
)
def test_counts_are_those_of_single_bits(bits: int, codes: int, num_words: int):
    planes, rows = words(bits, num_words), [words(num_words, 50) for _ in range(codes)]
    expected = np.zeros(50)
    for weight, code in enumerate(rows):
        for plane in range(bits):
            mixed = code ^ planes[plane][:, None]
            ones = np.unpackbits(mixed.view(np.uint8).reshape(num_words, 50, 8), axis=2)
            expected += 2.0 ** (weight + plane) * ones.sum(axis=(0, 2))
    found = weighted_counts(planes, rows)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == (np.uint32 if num_words == 32 else np.uint16)
