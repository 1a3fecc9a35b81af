"""One model's features of images and texts, each computed once for all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from twinlens.distributed.world import World
from twinlens.embed.dataset import EmbeddedDataset, ImageTransform, embed_dataset
from twinlens.types import no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.embed.embedder import Embedder
    from twinlens.embed.feature_cache import FeatureCache
    from twinlens.types import Embeddings, ProgressCallback

_MAX_DATASETS_IN_MEMORY = 4
"""Data sets whose features are in memory."""


@dataclass(slots=True)
class EvalContext:
    """One model's features, cached in memory and, where there is a cache, on disk.

    Attributes:
        embedder: The model. Its weights must not change during the life of the context.
        cache: Features on disk, from one evaluation to the next; None for none.
        world: The processes that compute together, each its share; all must make the same calls.
        progress: Called with the number of images done, of all that are expected.
        expected_images: Images that will be embedded in all, where that is known.
    """

    embedder: Embedder
    cache: FeatureCache | None = None
    world: World = field(default_factory=World)
    progress: ProgressCallback = no_progress
    expected_images: int = 0
    _images_done: int = 0
    _recent: dict[tuple[int, str], tuple[Dataset, EmbeddedDataset]] = field(
        default_factory=dict[tuple[int, str], "tuple[Dataset, EmbeddedDataset]"]
    )

    def embed_dataset(
        self, dataset: Dataset, transform: ImageTransform | None = None
    ) -> EmbeddedDataset:
        """Embed those images of a data set that can be decoded.

        Raises:
            DataError: There are none, or more than 1% cannot be decoded.
        """
        key = (id(dataset), transform.name if transform else "")
        if key not in self._recent:
            embedded = embed_dataset(
                self.embedder,
                dataset.samples,
                dataset.name,
                cache=self.cache,
                world=self.world,
                transform=transform,
                progress=self._report_progress,
            )
            self._images_done += len(dataset.samples)
            if len(self._recent) >= _MAX_DATASETS_IN_MEMORY:
                self._recent.pop(next(iter(self._recent)))
            self._recent[key] = dataset, embedded  # with the data set, so that its id stays its own
        return self._recent[key][1]

    def _report_progress(self, done: int, total: int, what: str = "") -> None:
        done += self._images_done
        self.progress(done, max(total, done, self.expected_images), what)

    def zero_shot_classifier(
        self, classnames: Sequence[str], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        """Build a zero-shot classifier: float32 [embed, class]; see `Embedder`'s.

        Raises:
            DataError: A text is longer than the model's context.
            ConfigError: A template has no `{}`.
        """
        mine = self.world.shard(classnames)
        own = (
            self.cache.zero_shot_classifier(mine, templates)
            if self.cache
            else self.embedder.zero_shot_classifier(mine, templates)
        )
        parts = self.world.all_gather(own)
        whole = np.empty((len(parts[0]), len(classnames)), np.float32)
        for rank, part in enumerate(parts):
            whole[:, rank :: len(parts)] = part
        return whole

    def embed_texts(self, texts: Sequence[str]) -> tuple[Embeddings, int]:
        """Embed texts: float32 [text, embed], and the number of texts that were cut."""
        embedder = self.embedder
        mine = list(self.world.shard(texts))
        context = embedder.config.text_config.context_length
        cut = embedder.tokenizer.encode_truncated(mine, context)[1] if mine else 0
        cached = self.cache and self.cache.embed_texts(mine)
        own = embedder.embed_texts(mine, truncate=True) if cached is None else cached
        parts = self.world.all_gather((own, cut))
        whole = np.empty((len(texts), own.shape[1]), np.float32)
        for rank, (part, _) in enumerate(parts):
            whole[rank :: len(parts)] = part
        return whole, sum(number for _, number in parts)
