"""A data set's images as features, without those that cannot be read: computed once, kept."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinlens.distributed.world import World
from twinlens.embed.feature_cache import Part
from twinlens.errors import DataError
from twinlens.images.decode import to_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Sample
    from twinlens.embed.embedder import Embedder
    from twinlens.embed.feature_cache import Shelf, Store
    from twinlens.types import Count, Embeddings, ImageInput

MAX_UNREADABLE = 0.01
"""Share of the images that may be left out."""

CHUNK = 2048
"""Images whose bytes or scores are held at a time."""

PART = 512
"""Images whose features make a file: what a killed evaluation may lose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that is done to images before the model sees them.

    Attributes:
        name: Another one for whatever gives other pixels.
        apply: Of an image's pixels uint8 [size, size, 3] and its place in the data set.
    """

    name: str
    apply: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """The samples whose images could be decoded, what the model sees, and what ails the others.

    Attributes:
        samples: The readable ones.
        places: Where each was among those asked for.
        features: What a linear probe reads of each: float32 [sample, width].
        embeddings: The unit vector of each: float32 [sample, embed].
        unreadable: What ails the others, by their keys.
    """

    samples: list[Sample]
    places: NDArray[np.int64]
    features: NDArray[np.float32]
    embeddings: Embeddings
    unreadable: dict[str, str]

    def of(self, labels: Container[str | None]) -> Readable:
        """The part whose labels are among these."""
        kept = [i for i, sample in enumerate(self.samples) if sample.label in labels]
        return Readable(
            samples=[self.samples[i] for i in kept],
            places=self.places[kept],
            features=self.features[kept],
            embeddings=self.embeddings[kept],
            unreadable=self.unreadable,
        )


def embed_samples(
    lens: Embedder,
    samples: Sequence[Sample],
    dataset_name: str,
    *,
    store: Store | None = None,
    world: World | None = None,
    change: Change | None = None,
    progress: Count | None = None,
) -> Readable:
    """Embed the images of samples, leaving out those that cannot be decoded.

    Args:
        lens: The model.
        samples: All of a data set; they are read in parts, each of them in one go.
        dataset_name: For messages, and for the store.
        store: Where parts that were computed before are, and where the others are put.
        world: The processes that compute together, each its share of the parts.
        change: What to do to the images first.
        progress: Told how many images are done.

    Raises:
        DataError: There are no samples, or more than 1% cannot be decoded.
    """
    world = world or World()
    what = f"{PART} {change.name if change else ''}"
    shelf = store and store.shelf(dataset_name, samples, what)
    own: dict[int, Part] = {}
    starts = list(range(0, len(samples), PART))
    for number in world.share(range(len(starts))):
        start, part = starts[number], shelf.read(number) if shelf else None
        if part is None or _mended(lens, samples[start : start + PART], part):
            part = compute_part(lens, samples[start : start + PART], change, start)
            _keep(store, shelf, number, part)
        own[number] = part
        if progress is not None:
            progress(min(number * PART + PART, len(samples)), len(samples), dataset_name)
    parts = {n: part for theirs in world.gathered(own) for n, part in theirs.items()}
    return _joined(lens, samples, dataset_name, [parts[n] for n in range(len(starts))])


def _mended(lens: Embedder, samples: Sequence[Sample], part: Part) -> bool:
    """Whether an image can be read now that could not: a server that did not answer, say."""
    bad = [samples[place] for place in part.unreadable]
    return bool(bad) and len(compute_part(lens, bad).readable) > 0


def _keep(store: Store | None, shelf: Shelf | None, number: int, part: Part) -> None:
    if store is not None and shelf is not None:
        shelf.write(number, part)
        store.computed += len(part.readable) + len(part.unreadable)


def _joined(
    lens: Embedder, samples: Sequence[Sample], dataset_name: str, parts: Sequence[Part]
) -> Readable:
    places = [PART * number + part.readable for number, part in enumerate(parts)]
    unreadable = {
        samples[PART * number + place].key: why
        for number, part in enumerate(parts)
        for place, why in part.unreadable.items()
    }
    check_readable(dataset_name, len(samples), unreadable)
    features = np.concatenate([part.features for part in parts])
    kept = np.concatenate(places)
    return Readable(
        samples=[samples[place] for place in kept.tolist()],
        places=kept,
        features=features,
        embeddings=lens.project(features),
        unreadable=unreadable,
    )


def compute_part(
    lens: Embedder, samples: Sequence[Sample], change: Change | None = None, first: int = 0
) -> Part:
    """Features of those images that can be read, and what ails the others.

    Args:
        lens: The model.
        samples: Few enough for their bytes to be held.
        change: What to do to the images first.
        first: The first one's place in its data set.
    """
    images: dict[int, ImageInput] = {}
    unreadable: dict[int, str] = {}
    for index, sample in enumerate(samples):
        try:
            image = _image(sample)
            images[index] = _changed(image, change, first + index, lens) if change else image
        except DataError as error:
            unreadable[index] = str(error)
    features, failures = lens.probe_features(images.values())
    indices = list(images)
    for place, error in failures.items():
        unreadable[indices[place]] = str(error).removeprefix("<bytes>: ")
    readable = [index for index in indices if index not in unreadable]
    return Part(
        features=features,
        readable=np.array(readable, np.int64),
        unreadable=dict(sorted(unreadable.items())),
    )


def _changed(image: ImageInput, change: Change, place: int, lens: Embedder) -> NDArray[np.uint8]:
    """Changed at the size that the model sees: what is left of it is the model's own to judge."""
    pixels = to_pixels(image, lens.config.image_input, decode=lens.decode)
    return change.apply(pixels, place)


def embed_readable(lens: Embedder, samples: Sequence[Sample]) -> tuple[Embeddings, dict[int, str]]:
    """The embeddings of those images that can be read, and what ails the others, by index."""
    parts = [compute_part(lens, samples[i : i + CHUNK]) for i in chunk_starts(len(samples))]
    unreadable = {
        CHUNK * number + index: why
        for number, part in enumerate(parts)
        for index, why in part.unreadable.items()
    }
    return lens.project(np.concatenate([part.features for part in parts])), unreadable


def chunk_starts(count: int) -> range:
    """Where to begin so that not all is held at a time; one chunk at least, if an empty one."""
    return range(0, max(1, count), CHUNK)


def _image(sample: Sample) -> ImageInput:
    return sample.source if isinstance(sample.source, Path) else sample.image_bytes()


def check_readable(dataset_name: str, samples: int, unreadable: Mapping[str, str]) -> None:
    """Make sure that enough images could be read.

    Raises:
        DataError: There are no samples, or more than 1% cannot be decoded.
    """
    if samples == 0:
        raise DataError(f"{dataset_name}: got no labelled images, expected at least one")
    if len(unreadable) > MAX_UNREADABLE * samples:
        key, reason = next(iter(unreadable.items()))
        raise DataError(
            f"{dataset_name}: {len(unreadable)} of {samples} images cannot be read, "
            f"expected at most {MAX_UNREADABLE:.0%}; the first is {key}: {reason}"
        )
