"""How well captions fit their images: CLIPScore and RefCLIPScore (Hessel et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twinlens.embed.dataset import check_readable
from twinlens.errors import DataError
from twinlens.eval.metrics.clip_score import CLIPSCORE_PROMPT, clip_score, ref_clip_score
from twinlens.eval.metrics.statistics import bootstrap_means, intervals_of
from twinlens.eval.results.result import Evidence, ScoredPair, ScoresResult, samples_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.eval.context import Features
    from twinlens.types import Embeddings


def measure(
    features: Features, dataset: Dataset, *, prompt: str = CLIPSCORE_PROMPT
) -> ScoresResult:
    """Score every image's first caption; further captions are references for RefCLIPScore.

    Args:
        features: Of the model.
        dataset: Images with captions; those without are left out, and said.
        prompt: What captions are put into, with `{}`; the paper's has "A photo depicts" before
            each.

    Raises:
        DataError: There are no captions, or more than 1% of the images cannot be decoded.
    """
    read = features.images(dataset)
    asked = [i for i, sample in enumerate(read.samples) if sample.captions]
    samples = [read.samples[i] for i in asked]
    if not samples:
        raise DataError(f"{dataset.name}: got no captions, expected images with one each")
    check_readable(dataset.name, len(samples), {})
    embeddings = read.embeddings[asked]
    captions = [prompt.replace("{}", caption) for one in samples for caption in one.captions]
    owner = np.repeat(np.arange(len(samples)), [len(one.captions) for one in samples])
    vectors, cut = features.texts(captions)
    rows, notes = _scored(embeddings, vectors, owner)
    if len(samples) < len(read.samples):
        notes.append(f"left out: {len(read.samples) - len(samples):,} images without a caption")
    drawn = dict(zip(rows, bootstrap_means(np.stack(list(rows.values()))), strict=True))
    metrics = {key: float(values.mean()) for key, values in rows.items()}
    scores = rows["clip_score"]
    worst = np.argsort(scores, kind="stable")
    return ScoresResult(
        task="scores",
        dataset=dataset.name,
        metrics=metrics,
        intervals=intervals_of(drawn, metrics, len(samples)),
        chance={},
        samples=len(samples),
        unreadable=read.unreadable,
        notes=tuple(notes),
        cut_texts=cut,
        pairs=[
            ScoredPair(
                key=samples[i].key,
                place=int(read.places[asked[i]]),
                caption=samples[i].captions[0],
                score=float(scores[i]),
            )
            for i in worst.tolist()
        ],
        evidence=Evidence(
            samples=samples_digest((one.key, one.captions) for one in samples),
            replicates={key: values.astype(np.float32) for key, values in drawn.items()},
        ),
    )


def _scored(
    images: Embeddings, captions: Embeddings, owner: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.floating]], list[str]]:
    """Each image's scores by metric, and what is to be said of them.

    Args:
        images: One an image.
        captions: In the order of the images.
        owner: Each caption's image.
    """
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    rows: dict[str, NDArray[np.floating]] = {"clip_score": clip_score(images, captions[first])}
    others = np.setdiff1d(np.arange(len(captions)), first)
    without = len(images) - len(np.unique(owner[others]))
    if not without:
        rows["ref_clip_score"] = ref_clip_score(
            images, captions[first], captions[others], owner[others]
        )
    elif len(others):
        return rows, [f"no RefCLIPScore: {without:,} images have one caption only"]
    return rows, []
