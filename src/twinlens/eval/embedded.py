"""A data set's pictures as embeddings, without those that cannot be read."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinlens.errors import DataError

if TYPE_CHECKING:
    from twinlens.data.datasets import Sample
    from twinlens.embedder import Embedder
    from twinlens.types import Embeddings, ImageInput

MAX_UNREADABLE = 0.01
"""Share of the pictures that may be left out."""

CHUNK = 2048
"""Pictures whose bytes or scores are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """The samples whose pictures could be decoded, their embeddings, and what ails the others."""

    samples: list[Sample]
    embeddings: Embeddings
    unreadable: dict[str, str]

    def of(self, labels: Container[str | None]) -> Readable:
        """The part whose labels are among these."""
        kept = [i for i, sample in enumerate(self.samples) if sample.label in labels]
        return Readable(
            samples=[self.samples[i] for i in kept],
            embeddings=self.embeddings[kept],
            unreadable=self.unreadable,
        )


def embed_samples(lens: Embedder, samples: Sequence[Sample], dataset_name: str) -> Readable:
    """Embed the pictures of samples, leaving out those that cannot be decoded.

    Raises:
        DataError: There are no samples, or more than 1% cannot be decoded.
    """
    embeddings, failures = embed_readable(lens, samples)
    named = {samples[index].key: why for index, why in failures.items()}
    check_readable(dataset_name, len(samples), named)
    kept = [sample for index, sample in enumerate(samples) if index not in failures]
    return Readable(samples=kept, embeddings=embeddings, unreadable=named)


def embed_readable(lens: Embedder, samples: Sequence[Sample]) -> tuple[Embeddings, dict[int, str]]:
    """The embeddings of those pictures that can be read, and what ails the others, by index."""
    parts: list[Embeddings] = []
    unreadable: dict[int, str] = {}
    for start in chunk_starts(len(samples)):
        pictures: dict[int, ImageInput] = {}
        for index in range(start, min(start + CHUNK, len(samples))):
            try:
                pictures[index] = _picture(samples[index])
            except DataError as error:
                unreadable[index] = str(error)
        embeddings, failures = lens.embed_readable_images(pictures.values())
        parts.append(embeddings)
        indices = list(pictures)
        for place, error in failures.items():
            unreadable[indices[place]] = str(error).removeprefix("<bytes>: ")
    return np.concatenate(parts), dict(sorted(unreadable.items()))


def chunk_starts(count: int) -> range:
    """Where to begin so that not all is held at a time; one chunk at least, if an empty one."""
    return range(0, max(1, count), CHUNK)


def _picture(sample: Sample) -> ImageInput:
    return sample.source if isinstance(sample.source, Path) else sample.image_bytes()


def check_readable(dataset_name: str, samples: int, unreadable: Mapping[str, str]) -> None:
    """Make sure that enough pictures could be read.

    Raises:
        DataError: There are no samples, or more than 1% cannot be decoded.
    """
    if samples == 0:
        raise DataError(f"{dataset_name}: got no labelled pictures, expected at least one")
    if len(unreadable) > MAX_UNREADABLE * samples:
        key, reason = next(iter(unreadable.items()))
        raise DataError(
            f"{dataset_name}: {len(unreadable)} of {samples} pictures cannot be read, "
            f"expected at most {MAX_UNREADABLE:.0%}; the first is {key}: {reason}"
        )
