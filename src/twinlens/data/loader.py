"""Batches of training pairs, in an order that is a function of the seed alone.

Batch number `step` of a run is the same whoever asks for it and whenever: resuming needs no
state beyond the number.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from twinlens.data.augment import Augmentation, augment, random_square_crop
from twinlens.data.datasets import Sample
from twinlens.data.images import decode_image
from twinlens.errors import DataError
from twinlens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AHEAD = 3
"""Batches prepared in advance: enough to hide the decoding, little to hold."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step sees.

    Attributes:
        pixels: uint8, not normalised.
        tokens: Zero padded, `context_length` wide; one set of captions after the other.
        concepts: Equal numbers depict the same thing (see `contrastive_loss`); where the data
            does not say what a picture depicts, its caption counts.
        truncated: How many captions were longer than the context and cut.
    """

    pixels: UInt8[Tensor, "pair 3 size size"]
    tokens: Int64[Tensor, "set pair length"]
    concepts: Int64[Tensor, "set pair"]
    truncated: int
    labels: Int64[Tensor, " pair"] | None = None
    kept: Int64[Tensor, "pair kept"] | None = None


class PairLoader:
    """Cuts an endless stream of shuffled epochs into batches, decoding in threads.

    Of the `captions` sets of a batch each draws from its own share of a picture's caption list,
    in order: with two, the first from the first half, the second from the second. A caption on
    the border belongs to both shares in proportion; all together, each is drawn as often as any.

    Raises:
        DataError: The data set is empty, a sample has no caption, or a picture cannot be decoded.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tokenizer: Tokenizer,
        *,
        batch_size: int,
        image_size: int,
        context_length: int,
        augmentation: Augmentation,
        seed: int,
        captions: int = 1,
        background: tuple[int, int, int] = (255, 255, 255),
        threads: int = 2,
    ) -> None:
        if not samples:
            raise DataError("training data: got no samples, expected at least one")
        self.samples = samples
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.image_size = image_size
        self.context_length = context_length
        self.augmentation = augmentation
        self.seed = seed
        self.captions = captions
        self.background = background
        self.threads = threads

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """Batches `first_step` to `last_step` (not included), read ahead in threads."""
        pending: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="loader") as pool:
            try:
                for step in range(first_step, last_step + _AHEAD):
                    if step < last_step:
                        pending.append(pool.submit(self._read, step))
                    if step >= first_step + _AHEAD:
                        yield self._augmented(pending.popleft().result(), step - _AHEAD)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """Batch number `step`: a pure function of the data, the seed and the number."""
        return self._augmented(self._read(step), step)

    def _augmented(self, batch: Batch, step: int) -> Batch:
        # Not in the reading threads: torch's own threads would fight with those of the model.
        generator = torch.Generator().manual_seed(_mix(self.seed, step))
        return replace(batch, pixels=augment(batch.pixels, self.augmentation, generator))

    def _read(self, step: int) -> Batch:
        """Decoded and cropped pictures with their captions."""
        pictures: list[NDArray[np.uint8]] = []
        captions: list[list[str]] = []
        concepts: list[list[int]] = []
        for position in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, place = divmod(position, len(self.samples))
            sample = self.samples[epoch_order(len(self.samples), self.seed, epoch)[place]]
            rng = np.random.default_rng([self.seed, position])
            pictures.append(self._picture(sample, rng))
            captions.append(self._captions(sample, rng))
            concepts.append([_concept_number(sample.concept or text) for text in captions[-1]])
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
        tokens, truncated = self._tokens(captions)
        return Batch(
            pixels=pixels,
            tokens=tokens,
            concepts=torch.tensor(concepts).T,
            truncated=truncated,
        )

    def _picture(self, sample: Sample, rng: np.random.Generator) -> NDArray[np.uint8]:
        image = decode_image(sample.image_bytes(), background=self.background, name=sample.where)
        return random_square_crop(image, self.image_size, self.augmentation.crop_side, rng)

    def _captions(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        captions = sample.captions
        if not captions:
            raise DataError(f"{sample.where}: got no caption, expected at least one")
        # What a data set's lists begin with, often plain names, is learned from in every step.
        # A caption stands for as many numbers as there are sets, a set for as many as captions.
        starts = len(captions) * np.arange(self.captions)
        return [captions[i // self.captions] for i in rng.integers(starts, starts + len(captions))]

    def _tokens(self, captions: list[list[str]]) -> tuple[Int64[Tensor, "set pair length"], int]:
        """Tokens, and how many captions were cut."""
        texts = [caption for one_set in zip(*captions, strict=True) for caption in one_set]
        # One place more than the context shows which captions did not fit.
        wide = self.tokenizer(texts, self.context_length + 1, truncate=True)
        cut = wide[:, -1] == self.tokenizer.end_id
        tokens = wide[:, :-1].contiguous()
        tokens[cut, -1] = self.tokenizer.end_id
        return tokens.view(self.captions, len(captions), -1), int(cut.sum())


@lru_cache(maxsize=4)
def epoch_order(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of one epoch: a permutation of `size` samples, by (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(size)


def _concept_number(concept: str) -> int:
    """A 63-bit number for a concept, the same in every process."""
    digest = hashlib.blake2b(concept.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mix(seed: int, step: int) -> int:
    """One well-spread number of two."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)
