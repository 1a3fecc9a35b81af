"""What a model makes of images and words, each computed once however many tasks ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from twinlens.distributed.world import World
from twinlens.embed.dataset import Change, Readable, embed_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.embed.embedder import Embedder
    from twinlens.embed.feature_cache import Store
    from twinlens.types import Count, Embeddings

_HELD = 4
"""Data sets whose features are held in memory."""


@dataclass(slots=True)
class Features:
    """One model's features, kept in memory and, where there is a store, on disk.

    Attributes:
        lens: The model.
        store: Where features are kept from one evaluation to the next; None keeps none.
        world: The processes that compute together, each its share; all of them have to ask.
        progress: Told how many images are done, of all that are expected.
        expected: Images that will be asked for in all, where that is known.
    """

    lens: Embedder
    store: Store | None = None
    world: World = field(default_factory=World)
    progress: Count | None = None
    expected: int = 0
    _done: int = 0
    _held: dict[tuple[int, str], tuple[Dataset, Readable]] = field(
        default_factory=dict[tuple[int, str], "tuple[Dataset, Readable]"]
    )

    def images(self, dataset: Dataset, change: Change | None = None) -> Readable:
        """A data set's images, those that can be read.

        Raises:
            DataError: There are none, or more than 1% cannot be decoded.
        """
        key = (id(dataset), change.name if change else "")
        if key not in self._held:
            found = embed_samples(
                self.lens,
                dataset.samples,
                dataset.name,
                store=self.store,
                world=self.world,
                change=change,
                progress=self._told,
            )
            self._done += len(dataset.samples)
            if len(self._held) >= _HELD:
                self._held.pop(next(iter(self._held)))
            self._held[key] = dataset, found  # with the data set, so that its id stays its own
        return self._held[key][1]

    def _told(self, done: int, total: int, what: str = "") -> None:
        if self.progress is not None:
            done += self._done
            self.progress(done, max(total, done, self.expected), what)

    def classifier(
        self, classnames: Sequence[str], templates: Sequence[str]
    ) -> NDArray[np.float32]:
        """A classifier written in words: float32 [embed, class] (see `zero_shot_classifier`).

        Raises:
            DataError: A text is longer than the model's context.
            ConfigError: A template has no `{}`.
        """
        mine = self.world.share(classnames)
        own = (
            self.store.classifier(mine, templates)
            if self.store
            else self.lens.zero_shot_classifier(mine, templates)
        )
        parts = self.world.gathered(own)
        whole = np.empty((len(parts[0]), len(classnames)), np.float32)
        for rank, part in enumerate(parts):
            whole[:, rank :: len(parts)] = part
        return whole

    def texts(self, texts: Sequence[str]) -> tuple[Embeddings, int]:
        """Embeddings of texts, float32 [text, embed], and how many had to be cut."""
        lens = self.lens
        mine = list(self.world.share(texts))
        cut = lens.tokenizer.fitted(mine, lens.config.text_input.context_length)[1] if mine else 0
        own = self.store.texts(mine) if self.store else lens.embed_texts(mine, truncate=True)
        parts = self.world.gathered((own, cut))
        whole = np.empty((len(texts), own.shape[1]), np.float32)
        for rank, (part, _) in enumerate(parts):
            whole[rank :: len(parts)] = part
        return whole, sum(number for _, number in parts)
