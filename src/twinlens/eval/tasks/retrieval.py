"""Images and captions that find each other, with several captions an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.embed.dataset import check_readable
from twinlens.errors import DataError
from twinlens.eval.metrics.statistics import bootstrap, intervals_of
from twinlens.eval.results.result import Evidence, Example, Found, RetrievalResult, samples_digest
from twinlens.eval.tasks import retrieval_ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.embed.dataset import Readable
    from twinlens.eval.context import Features
    from twinlens.types import Count, Embeddings


def measure(
    features: Features, dataset: Dataset, *, progress: Count | None = None
) -> RetrievalResult:
    """Let every caption look for its image, and every image for one of its captions.

    Args:
        features: Of the model.
        dataset: Images with captions, any number each.
        progress: Told of the ranks that are counted.

    Raises:
        DataError: There are no captions, or more than 1% of the images cannot be decoded.
    """
    read = features.images(dataset)
    captions = [caption for sample in read.samples for caption in sample.captions]
    if not captions:
        raise DataError(f"{dataset.name}: got no captions, expected images with one each")
    check_readable(dataset.name, len(read.samples), {})
    counts = [len(sample.captions) for sample in read.samples]
    owner = np.repeat(np.arange(len(counts)), counts)
    texts, cut = features.texts(captions)
    found = retrieval_ranking.measure(
        read.embeddings,
        texts,
        owner,
        device=features.lens.device,
        progress=progress,
        world=features.world,
    )
    asked = np.flatnonzero(np.array(counts))
    drawn, right = _evidence(found, asked, owner)
    return RetrievalResult(
        task="zeroshot_retrieval",
        dataset=dataset.name,
        metrics=found.metrics,
        intervals=intervals_of(drawn, found.metrics, len(asked)),
        chance=found.chance,
        samples=found.samples,
        unreadable=read.unreadable,
        notes=_notes(found.uncaptioned, cut),
        texts=found.texts,
        uncaptioned=found.uncaptioned,
        cut_texts=cut,
        examples=_examples(read, captions, texts, owner, found),
        evidence=Evidence(
            samples=samples_digest((one.key, one.captions) for one in read.samples),
            replicates={key: values.astype(np.float32) for key, values in drawn.items()},
            right=right,
        ),
    )


def _evidence(
    found: retrieval_ranking.Retrieval, asked: NDArray[np.int64], owner: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.bool_]]]:
    """Resamples of images, which take their captions along: these are not independent."""
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=found.samples)
    ends = np.cumsum(counts)

    def measured(rows: NDArray[np.int64]) -> dict[str, float]:
        images = asked[rows]
        lengths = counts[images]
        first = np.repeat(ends[images] - np.cumsum(lengths), lengths)
        own = order[first + np.arange(len(first))]
        return _of_ranks("image", found.text_ranks[own], found) | _of_ranks(
            "text", found.image_ranks[images], found
        )

    keys = [key for key in found.metrics if "recall@" in key]
    ranks = {"image": found.text_ranks, "text": found.image_ranks[asked]}
    right = {key: ranks[key.split("_")[0]] < int(key.split("@")[1]) for key in keys}
    return bootstrap(measured, len(asked)), right


def _of_ranks(
    what: str, ranks: NDArray[np.int64], found: retrieval_ranking.Retrieval
) -> dict[str, float]:
    """The metrics of some queries by their ranks, as in `retrieval.measure`."""
    prefix = f"{what}_retrieval_"
    wanted = [key for key in found.metrics if key.startswith(prefix)]
    values = {f"{prefix}recall@{k}": float((ranks < k).mean()) for k in retrieval_ranking.KS} | {
        f"{prefix}median_rank": float(np.sort(ranks)[(len(ranks) - 1) // 2] + 1),
        f"{prefix}mean_reciprocal_rank": float((1 / (ranks + 1)).mean()),
    }
    return {key: values[key] for key in wanted}


def _notes(uncaptioned: int, cut: int) -> tuple[str, ...]:
    notes: list[str] = []
    if uncaptioned:
        notes.append(f"{uncaptioned:,} images have no caption: none looks for them")
    if cut:
        notes.append(f"{cut:,} captions were longer than the model reads, and cut")
    return tuple(notes)


def _examples(
    read: Readable,
    captions: Sequence[str],
    texts: Embeddings,
    owner: NDArray[np.int64],
    found: retrieval_ranking.Retrieval,
) -> list[Example]:
    """Captions and images that were found best, then those that were found worst."""
    places = read.places.tolist()
    by_text = retrieval_ranking.examples(texts, read.embeddings, found.text_ranks)
    by_image = retrieval_ranking.examples(read.embeddings, texts, found.image_ranks)
    for_texts = [
        Example(
            text=captions[one.query],
            place=None,
            rank=one.rank + 1,
            found=tuple(
                Found(text=None, place=places[i], score=score, right=bool(owner[one.query] == i))
                for i, score in zip(one.candidates, one.scores, strict=True)
            ),
        )
        for some in by_text
        for one in some
    ]
    for_images = [
        Example(
            text=None,
            place=places[one.query],
            rank=one.rank + 1,
            found=tuple(
                Found(text=captions[i], place=None, score=score, right=bool(owner[i] == one.query))
                for i, score in zip(one.candidates, one.scores, strict=True)
            ),
        )
        for some in by_image
        for one in some
    ]
    return for_texts + for_images
