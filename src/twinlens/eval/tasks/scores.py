"""Caption scores: CLIPScore and RefCLIPScore of a data set (Hessel et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinlens.eval.metrics.clip_score import CLIPSCORE_PROMPT, clip_score, ref_clip_score
from twinlens.eval.metrics.statistics import bootstrap_means, confidence_intervals
from twinlens.eval.requirements import require_captions
from twinlens.eval.results.result import Evidence, TaskResult, digest_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.eval.context import EvalContext
    from twinlens.types import Embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPair:
    """An image, its caption, and their CLIPScore."""

    key: str
    index: int
    caption: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionScoreResult(TaskResult):
    """Scores of captions with their images (Hessel et al. 2021).

    The metrics are `clip_score`, the mean over images with their first captions, and
    `ref_clip_score`, where the other captions are references.

    Attributes:
        num_truncated_texts: Number of captions that were longer than the model's context, and cut.
        pairs: Every image with its first caption, worst first.
    """

    num_truncated_texts: int
    pairs: list[ScoredPair]

    def details(self) -> dict[str, Any]:
        """The number of truncated captions."""
        return {"cut_texts": self.num_truncated_texts}

    def all_notes(self) -> list[str]:
        """The notes, and the number of truncated captions."""
        count = self.num_truncated_texts
        cut = [f"captions longer than the model reads, cut: {count:,}"] if count else []
        return [*self.notes, *cut]


def evaluate_caption_scores(
    context: EvalContext, dataset: Dataset, *, prompt: str = CLIPSCORE_PROMPT
) -> CaptionScoreResult:
    """Score every image's first caption; further captions are references for RefCLIPScore.

    Args:
        context: The model's features.
        dataset: Images with captions; those without are left out, with a note.
        prompt: The prompt of captions, with `{}`; the paper's has "A photo depicts" before each.

    Raises:
        DataError: There are no captions, or more than 1% of the images cannot be decoded.
    """
    embedded = context.embed_dataset(dataset)
    require_captions(dataset.name, embedded.samples)
    captioned = [i for i, sample in enumerate(embedded.samples) if sample.captions]
    samples = [embedded.samples[i] for i in captioned]
    captions = [prompt.replace("{}", caption) for one in samples for caption in one.captions]
    image_indices = np.repeat(np.arange(len(samples)), [len(one.captions) for one in samples])
    vectors, num_truncated = context.embed_texts(captions)
    rows, notes = _score_captions(embedded.embeddings[captioned], vectors, image_indices)
    if len(samples) < len(embedded.samples):
        left_out = len(embedded.samples) - len(samples)
        notes.append(f"left out: {left_out:,} images without a caption")
    replicates = dict(zip(rows, bootstrap_means(np.stack(list(rows.values()))), strict=True))
    metrics = {key: float(values.mean()) for key, values in rows.items()}
    scores = rows["clip_score"]
    return CaptionScoreResult(
        task="scores",
        dataset=dataset.name,
        metrics=metrics,
        intervals=confidence_intervals(replicates, metrics, len(samples)),
        chance={},
        num_samples=len(samples),
        unreadable=embedded.unreadable,
        notes=tuple(notes),
        num_truncated_texts=num_truncated,
        pairs=[
            ScoredPair(
                key=samples[i].key,
                index=int(embedded.indices[captioned[i]]),
                caption=samples[i].captions[0],
                score=float(scores[i]),
            )
            for i in np.argsort(scores, kind="stable").tolist()
        ],
        evidence=Evidence(
            samples_digest=digest_samples((one.key, one.captions) for one in samples),
            replicates={key: values.astype(np.float32) for key, values in replicates.items()},
        ),
    )


def _score_captions(
    images: Embeddings, captions: Embeddings, image_indices: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.floating]], list[str]]:
    """Each image's scores by metric, and notes on them.

    Args:
        images: An embedding for each image.
        captions: Embeddings of their captions, in the order of the images.
        image_indices: Index of each caption's image.
    """
    first = np.flatnonzero(np.r_[True, image_indices[1:] != image_indices[:-1]])
    rows: dict[str, NDArray[np.floating]] = {"clip_score": clip_score(images, captions[first])}
    others = np.setdiff1d(np.arange(len(captions)), first)
    without = len(images) - len(np.unique(image_indices[others]))
    if not without:
        rows["ref_clip_score"] = ref_clip_score(
            images, captions[first], captions[others], image_indices[others]
        )
    elif len(others):
        return rows, [f"no RefCLIPScore: {without:,} images have one caption only"]
    return rows, []
