"""Embedding a data set: the one way, with a cache, several processes and unreadable images."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinlens.distributed.world import World
from twinlens.embed.feature_cache import FeatureChunk
from twinlens.errors import DataError
from twinlens.images.decode import to_pixels
from twinlens.types import no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Sample
    from twinlens.embed.embedder import Embedder
    from twinlens.embed.feature_cache import DatasetCache, FeatureCache
    from twinlens.types import Embeddings, ImageInput, ProgressCallback

MAX_UNREADABLE_FRACTION = 0.01
"""Largest share of the images that may be left out, unless more are allowed."""

CHUNK_SIZE = 512
"""Images whose bytes are in memory at a time, and whose features make a file of a cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTransform:
    """A transform of images before the model sees them.

    Attributes:
        name: A name that no transform with other results has.
        apply: Takes an image's pixels uint8 [size, size, 3] and its index in the data set.
    """

    name: str
    apply: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedDataset:
    """The samples whose images could be decoded, with their features and embeddings.

    Attributes:
        samples: The readable samples.
        indices: Their positions among the samples that were passed in: int64 [sample].
        features: The input of a linear probe: float32 [sample, width].
        embeddings: Unit vectors: float32 [sample, embed].
        unreadable: Why the other images cannot be decoded, by their keys.
    """

    samples: list[Sample]
    indices: NDArray[np.int64]
    features: NDArray[np.float32]
    embeddings: Embeddings
    unreadable: dict[str, str]

    def with_labels(self, labels: Container[str | None]) -> EmbeddedDataset:
        """The samples whose label is among these."""
        kept = [i for i, sample in enumerate(self.samples) if sample.label in labels]
        return EmbeddedDataset(
            samples=[self.samples[i] for i in kept],
            indices=self.indices[kept],
            features=self.features[kept],
            embeddings=self.embeddings[kept],
            unreadable=self.unreadable,
        )


def embed_dataset(
    embedder: Embedder,
    samples: Sequence[Sample],
    dataset_name: str,
    *,
    cache: FeatureCache | None = None,
    world: World | None = None,
    transform: ImageTransform | None = None,
    progress: ProgressCallback = no_progress,
    max_unreadable_fraction: float = MAX_UNREADABLE_FRACTION,
) -> EmbeddedDataset:
    """Embed the images of a data set, leaving out those that cannot be decoded.

    Args:
        embedder: The model.
        samples: All samples of the data set; a chunk of them is read at a time.
        dataset_name: The data set's name, for messages and for the cache.
        cache: Features that were computed before; those computed now are added.
        world: The processes that compute together, each its share of the chunks. All of them get
            the whole.
        transform: A transform of the images before the model sees them.
        progress: Called with the number of images done.
        max_unreadable_fraction: Largest share of the images that may be left out, in [0, 1].

    Raises:
        DataError: There are no samples, or more than that share cannot be decoded.
    """
    world = world or World()
    kind = f"{CHUNK_SIZE} {transform.name if transform else ''}"
    stored = cache and cache.dataset_cache(dataset_name, samples, kind)
    size = CHUNK_SIZE if cache else _chunk_size(embedder, len(samples), world)
    starts = list(range(0, len(samples), size))
    own: dict[int, FeatureChunk] = {}
    for number in world.shard(range(len(starts))):
        start, chunk = starts[number], stored.read(number) if stored else None
        part = samples[start : start + size]
        if chunk is None or _is_readable_now(embedder, part, chunk):
            chunk = embed_chunk(embedder, part, transform, start)
            _write_chunk(cache, stored, number, chunk)
        own[number] = chunk
        progress(start + len(part), len(samples), dataset_name)
    chunks = {start: chunk for theirs in world.all_gather(own) for start, chunk in theirs.items()}
    unreadable = {
        samples[starts[number] + index].key: reason
        for number in range(len(starts))
        for index, reason in chunks[number].unreadable.items()
    }
    check_unreadable_fraction(dataset_name, len(samples), unreadable, max_unreadable_fraction)
    features = np.concatenate([chunks[number].features for number in range(len(starts))])
    indices = np.concatenate(
        [start + chunks[number].readable_indices for number, start in enumerate(starts)]
    )
    return EmbeddedDataset(
        samples=[samples[index] for index in indices.tolist()],
        indices=indices,
        features=features,
        embeddings=embedder.project(features),
        unreadable=unreadable,
    )


def _chunk_size(embedder: Embedder, num_samples: int, world: World) -> int:
    """The images of a chunk that no file is made of: fewer where processes would have none.

    A chunk is whole batches, so that features do not depend on the number of processes.
    """
    share = -(-num_samples // world.world_size)
    return min(CHUNK_SIZE, max(1, -(-share // embedder.batch_size)) * embedder.batch_size)


def _is_readable_now(embedder: Embedder, samples: Sequence[Sample], chunk: FeatureChunk) -> bool:
    """True if an image of a stored chunk can be decoded that could not: its server failed, say."""
    bad = [samples[index] for index in chunk.unreadable]
    return bool(bad) and len(embed_chunk(embedder, bad).readable_indices) > 0


def _write_chunk(
    cache: FeatureCache | None, dataset_cache: DatasetCache | None, index: int, chunk: FeatureChunk
) -> None:
    if cache is not None and dataset_cache is not None:
        dataset_cache.write(index, chunk)
        cache.num_computed += len(chunk.readable_indices) + len(chunk.unreadable)


def embed_chunk(
    embedder: Embedder,
    samples: Sequence[Sample],
    transform: ImageTransform | None = None,
    first_index: int = 0,
) -> FeatureChunk:
    """Compute the features of those images that can be decoded.

    Args:
        embedder: The model.
        samples: Few enough that the bytes of all their images fit in memory.
        transform: A transform of the images before the model sees them.
        first_index: The index of the first sample in its data set.
    """
    images: dict[int, ImageInput] = {}
    unreadable: dict[int, str] = {}
    for index, sample in enumerate(samples):
        try:
            source = sample.source
            image = source if isinstance(source, Path) else sample.image_bytes()
            images[index] = (
                _transformed_pixels(image, transform, first_index + index, embedder)
                if transform
                else image
            )
        except DataError as error:
            unreadable[index] = str(error)
    features, failures = embedder.probe_features(images.values())
    indices = list(images)
    for position, error in failures.items():
        unreadable[indices[position]] = str(error).removeprefix("<bytes>: ")
    readable = [index for index in indices if index not in unreadable]
    return FeatureChunk(
        features=features,
        readable_indices=np.array(readable, np.int64),
        unreadable=dict(sorted(unreadable.items())),
    )


def _transformed_pixels(
    image: ImageInput, transform: ImageTransform, index: int, embedder: Embedder
) -> NDArray[np.uint8]:
    """Transform an image at the size that the model sees, so that nothing is cropped after it."""
    pixels = to_pixels(image, embedder.config.preprocess_config, decode=embedder.decode)
    return transform.apply(pixels, index)


def check_unreadable_fraction(
    dataset_name: str,
    num_samples: int,
    unreadable: Mapping[str, str],
    max_fraction: float = MAX_UNREADABLE_FRACTION,
) -> None:
    """Make sure that enough images could be decoded.

    Raises:
        DataError: There are no samples, or more than `max_fraction` of them cannot be decoded.
    """
    if num_samples == 0:
        raise DataError(f"{dataset_name}: got no labelled images, expected at least one")
    if len(unreadable) > max_fraction * num_samples:
        key, reason = next(iter(unreadable.items()))
        raise DataError(
            f"{dataset_name}: {len(unreadable)} of {num_samples} images cannot be read, "
            f"expected at most {max_fraction:.0%}; the first is {key}: {reason}"
        )
