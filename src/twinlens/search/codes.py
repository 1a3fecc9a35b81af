"""Codes: two bits for each direction of a vector, in files beside the vectors.

A vector minus the mean is turned by a random rotation, so that every direction carries about the
same, and each of its values becomes one of the odd numbers -3, -1, 1, 3. The high bits (the signs)
and the low bits lie in a file each, 64 to a word.

A folder `codes-GENERATION-ROWS` belongs to the first ROWS rows, from which it was made; codes of
later rows are appended, and `rows.txt` tells how many there are. Rows of a generation never
change, so neither do codes. A folder appears whole; a newer one replaces it when the rows have
doubled.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt64
from numpy.typing import NDArray

from twinlens.errors import DataError
from twinlens.files import atomic_directory, atomic_write_text
from twinlens.search.bit_blocks import BitBlocks, append_bits
from twinlens.search.exact import gather, release_pages

MIN_ROWS = 100_000
"""Fewer rows are searched exactly in the same time."""

_BITS = 512
"""The number of directions is a multiple of it: that many bits are eight words."""

_STEP_OF_SPREAD = 0.9957
"""The best step of four levels for normal values."""

_FIT_ROWS, _SAMPLE_ROWS = 32_768, 1_024

_CHUNK_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Transform:
    """The way from vectors to codes, fixed when the codes are made.

    Attributes:
        mean: Of the vectors.
        rotation: From a vector minus the mean to directions.
        step: Between two levels.
        high_map: From a query to weights of the directions, for the high bits.
        both_map: The same, for both bits.
        high_error: Error of the high bits along a vector, as a share of the score.
        both_error: The same, of both bits.
        sample: Some vectors minus the mean, by which a query learns how far codes are off.
        sample_high: Their high bits.
        sample_low: Their low bits.
    """

    mean: Float32[np.ndarray, " width"]
    rotation: Float32[np.ndarray, "width direction"]
    step: Float32[np.ndarray, ""]
    high_map: Float32[np.ndarray, "direction width"]
    both_map: Float32[np.ndarray, "direction width"]
    high_error: Float32[np.ndarray, ""]
    both_error: Float32[np.ndarray, ""]
    sample: Float32[np.ndarray, "sample width"]
    sample_high: UInt64[np.ndarray, "sample word"]
    sample_low: UInt64[np.ndarray, "sample word"]

    def levels(
        self, vectors: Float32[np.ndarray, "row width"]
    ) -> Float32[np.ndarray, "row direction"]:
        """The levels 0 to 3 of vectors."""
        return _levels((vectors - self.mean) @ self.rotation, self.step)


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of the first rows, mapped into memory."""

    transform: Transform
    high: BitBlocks
    low: BitBlocks

    def of_first(self, rows: int) -> Codes:
        """Those of the first rows, where a writer has appended more since."""
        return Codes(self.transform, self.high.first(rows), self.low.first(rows))


def pack_bits(bits: NDArray[np.bool_]) -> UInt64[np.ndarray, "... word"]:
    """Pack the last axis into words."""
    return np.packbits(bits, axis=-1, bitorder="little").view(np.uint64)


def open_codes(directory: Path, generation: str) -> Codes | None:
    """Open the codes of a generation of vectors; None if it has none.

    They may be of fewer rows than there are vectors.

    Raises:
        DataError: They cannot be read.
    """
    while (folder := _folder(directory, generation)) is not None:
        try:
            return _read(folder)
        except OSError as error:
            if folder.exists():
                raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
            raise DataError(
                f"{folder}: the codes are damaged: remove the folder, `twinlens index --out` makes "
                "them anew"
            ) from error
    return None


def update_codes(
    directory: Path,
    generation: str,
    vectors: Float32[np.ndarray, "row width"],
    holes: Int64[np.ndarray, " hole"],
) -> None:
    """Bring the codes up to the vectors of the last whole change.

    Called by the only writer, after the change: rows may not change under their codes.

    Args:
        directory: Of the index.
        generation: Of the vectors.
        vectors: All of them.
        holes: Rows that are deleted.

    Raises:
        OSError: They cannot be written.
    """
    folder = _folder(directory, generation)
    if folder is not None and len(vectors) < 2 * _rows_made_from(folder):
        _append(folder, vectors)
    elif len(vectors) >= MIN_ROWS:
        transform = _fit(vectors, holes)
        with atomic_directory(directory / f"codes-{generation}-{len(vectors)}") as new:
            np.savez(new / "transform.npz", allow_pickle=False, **_arrays(transform))
            for name in ("high", "low"):
                (new / f"{name}.u64").touch()
            (new / "rows.txt").write_text("0")
            _append(new, vectors)
    sweep_codes(directory, generation)


def sweep_codes(directory: Path, generation: str) -> None:
    """Remove codes that newer ones have replaced, or whose vectors are gone."""
    current = _folder(directory, generation)
    for folder in sorted(directory.glob("codes-*-*"), key=lambda one: not one.suffix):
        if folder != current:
            # Gone at once under its name, so that no reader opens a part of it.
            gone = folder if folder.suffix else folder.rename(f"{folder}.partial")
            shutil.rmtree(gone, ignore_errors=True)


def _folder(directory: Path, generation: str) -> Path | None:
    found = [one for one in directory.glob(f"codes-{generation}-*") if one.suffix != ".partial"]
    return max(found, key=_rows_made_from, default=None)


def _read(folder: Path) -> Codes:
    with np.load(folder / "transform.npz") as arrays:
        transform = Transform(**arrays)
    rows, words = int((folder / "rows.txt").read_text()), transform.sample_high.shape[1]
    high, low = (BitBlocks.open(folder / f"{name}.u64", rows, words) for name in ("high", "low"))
    return Codes(transform, high, low)


def _rows_made_from(folder: Path) -> int:
    return int(folder.name.split("-")[2])


def _arrays(transform: Transform) -> dict[str, NDArray[np.generic]]:
    return {field.name: getattr(transform, field.name) for field in fields(transform)}


def _append(folder: Path, vectors: Float32[np.ndarray, "row width"]) -> None:
    with np.load(folder / "transform.npz") as arrays:
        transform = Transform(**arrays)
    rows = int((folder / "rows.txt").read_text())
    for start in range(rows, len(vectors), _CHUNK_ROWS):
        levels = transform.levels(np.asarray(vectors[start : start + _CHUNK_ROWS]))
        append_bits(folder / "high.u64", start, pack_bits(levels >= 2))
        append_bits(folder / "low.u64", start, pack_bits(levels % 2 == 1))
        release_pages(vectors)
    atomic_write_text(str(len(vectors)), folder / "rows.txt")


def _fit(vectors: Float32[np.ndarray, "row width"], holes: Int64[np.ndarray, " hole"]) -> Transform:
    """Learn a transform from a sample of the vectors."""
    rng = np.random.default_rng(0)
    live = np.delete(np.arange(len(vectors)), holes)
    rows = np.sort(rng.choice(live, min(_FIT_ROWS, len(live)), replace=False))
    some = gather(vectors, rows)
    mean = some.mean(axis=0)
    some -= mean
    width = some.shape[1]
    directions = -(-width // _BITS) * _BITS
    rotation = np.linalg.qr(rng.standard_normal((directions, width)))[0].T.astype(np.float32)
    turned = some @ rotation
    step = np.asarray(_STEP_OF_SPREAD * max(float(turned.std()), 1e-12), np.float32)
    chosen = np.sort(rng.choice(len(some), min(_SAMPLE_ROWS, len(some)), replace=False))
    sample, levels = some[chosen], _levels(turned[chosen], step)
    covariance = (some.T @ some).astype(np.float64) / len(some)
    high_map = _query_map(covariance, rotation, 0.25)
    both_map = _query_map(covariance, rotation, 0.03)
    signs = np.where(levels >= 2, np.float32(1), np.float32(-1))
    return Transform(
        mean=mean,
        rotation=rotation,
        step=step,
        high_map=high_map,
        both_map=both_map,
        high_error=_own_error(sample, high_map, signs),
        both_error=_own_error(sample, both_map, 2 * levels - 3),
        sample=sample,
        sample_high=pack_bits(levels >= 2),
        sample_low=pack_bits(levels % 2 == 1),
    )


def _levels(
    turned: Float32[np.ndarray, "row direction"], step: Float32[np.ndarray, ""]
) -> Float32[np.ndarray, "row direction"]:
    return np.clip(np.floor(turned / step) + 2, 0, 3)


def _query_map(
    covariance: Float64[np.ndarray, "width width"],
    rotation: Float32[np.ndarray, "width direction"],
    noise: float,
) -> Float32[np.ndarray, "direction width"]:
    """From queries to weights, with less weight where vectors hardly differ.

    A text query has much in such directions, as texts lie apart from images, and there codes tell
    nothing but noise. The best weights for an average row would take all of the codes' noise for
    `noise`, and make near copies of an image look farther than they are: so a part of it.
    """
    damped = covariance.copy()
    level = noise * float(np.trace(covariance)) / rotation.shape[1]
    damped[np.diag_indices_from(damped)] += max(level, 1e-12)
    return (rotation.T @ np.linalg.solve(damped, covariance)).astype(np.float32)


def _own_error(
    vectors: Float32[np.ndarray, "row width"],
    query_map: Float32[np.ndarray, "direction width"],
    codes: Float32[np.ndarray, "row direction"],
) -> Float32[np.ndarray, ""]:
    """The spread of codes' scores with their own vectors, as a share of the score.

    Vectors differ in their distance from the mean, which the high bits do not tell. Among all rows
    that is hidden, for their scores are about zero; it shows in rows near a query.
    """
    estimates = np.vecdot(vectors @ query_map.T, codes)
    own = estimates / np.maximum(np.vecdot(vectors, vectors), 1e-12)
    return np.asarray(own.std() / max(float(own.mean()), 1e-12), np.float32)
