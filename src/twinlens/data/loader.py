"""Batches of training pairs, in an order that is a function of the seed alone.

Batch number `step` of a run is the same whoever asks for it and whenever, in whichever process:
resuming needs no state beyond the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from twinlens.data.augment import Augmentation, augment, random_square_crop
from twinlens.data.left_out import NO_CAPTION
from twinlens.data.prefetch import read_in_threads
from twinlens.data.sampler import training_sampler
from twinlens.data.samples import Dataset, Sample
from twinlens.data.sources.captions import UNREADABLE as NO_FILE
from twinlens.data.webdataset.shard_index import hash_key
from twinlens.data.workers import read_in_processes
from twinlens.errors import DataError
from twinlens.images.decode import decode_image
from twinlens.text.base_tokenizer import BaseTokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_REPLACEMENTS = 10
"""Samples asked in the place of one that cannot be used, before the run stops."""

REPLACEMENT_WINDOW = 1000
"""Positions of the stream among which replacements are looked for, those without a caption too."""

UNREADABLE_SAMPLE = "sample that cannot be read"
UNDECODABLE_IMAGE = "image that cannot be decoded"
UNKNOWN_LABEL = "image without one of the classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadSample:
    """A sample that could not be used, and the one that took its place.

    Attributes:
        position: Its place in the stream of the run.
        kind: The reason as it is counted: `NO_CAPTION` or one of this module's.
        reason: What was wrong, and where.
        replaced_by: The key of the sample that was taken instead.
    """

    position: int
    kind: str
    reason: str
    replaced_by: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's share of a training step.

    Attributes:
        pixels: uint8, not normalised.
        tokens: Padded, `context_length` wide; one set of captions after the other.
        concept_ids: Equal numbers depict the same thing (see `contrastive_loss`); where the data
            does not say what an image depicts, its caption counts.
        num_truncated: How many captions were longer than the context and cut.
        labels: Places in the data set's class names, where they were asked for.
        patch_indices: Patches of each image that are shown to the model, in order; all of them if
            None.
        bad_samples: Samples that could not be used and were replaced.
        passed_over: What samples say that is of another kind, a reason and a sample each; of each
            sample once, in the first epoch.
    """

    pixels: UInt8[Tensor, "pair 3 size size"]
    tokens: Int64[Tensor, "set pair length"]
    concept_ids: Int64[Tensor, "set pair"]
    num_truncated: int
    labels: Int64[Tensor, " pair"] | None = None
    patch_indices: Int64[Tensor, "pair kept"] | None = None
    bad_samples: tuple[BadSample, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()

    def pin_memory(self) -> Batch:
        """A copy that is quick to bring to a GPU."""
        tensors = {
            name: value.pin_memory()
            for name in ("pixels", "tokens", "concept_ids", "labels", "patch_indices")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **tensors)


@dataclass(frozen=True, slots=True)
class _Pair:
    """One pair as it was drawn."""

    pixels: NDArray[np.uint8]
    captions: list[str]
    concept_ids: list[int]
    label: int
    passed_over: tuple[tuple[str, str], ...] = ()


class _Rejected(NamedTuple):
    """The reason why a sample cannot be used: the kind that is counted, and the full message."""

    kind: str
    reason: str


class PairLoader:
    """Cuts an endless stream of shuffled epochs into batches.

    Each process of a world reads its own consecutive share of a step's pairs. Whatever is random
    about a pair (sample, crop, captions, colours, patches) follows from the seed and from its place
    in the stream, so that the shares of any number of processes join to the same batch.

    A sample that cannot be used is replaced by another, drawn from (seed, place, try) and told of
    in the batch.

    Of the `captions_per_image` sets of a batch each draws from its own share of an image's caption
    list, in order: with two, the first from the first half, the second from the second. A caption
    on the border belongs to both shares in proportion; all together, each is drawn as often as any.

    Args:
        dataset: Where the pairs come from.
        tokenizer: The vocabulary.
        batch_size: Pairs a step, of all processes together.
        image_size: Side of the images in pixels.
        context_length: Most tokens of a text.
        augmentation: Random changes of the images.
        seed: What decides.
        captions_per_image: Captions drawn for an image.
        background: What transparent images are laid on.
        rank: Which process this is.
        world_size: Of how many.
        patch_counts: Patches of an image and how many of them are kept, for patch dropout.
        with_labels: Whether to give labels; a sample without one counts as bad.

    Raises:
        DataError: The data set is empty, or in the place of a bad sample `MAX_REPLACEMENTS` others
            are bad too, or `REPLACEMENT_WINDOW` others without a caption.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: BaseTokenizer,
        *,
        batch_size: int,
        image_size: int,
        context_length: int,
        augmentation: Augmentation,
        seed: int,
        captions_per_image: int = 1,
        background: tuple[int, int, int] = (255, 255, 255),
        rank: int = 0,
        world_size: int = 1,
        patch_counts: tuple[int, int] | None = None,
        with_labels: bool = False,
    ) -> None:
        if not dataset.samples:
            raise DataError("training data: got no samples, expected at least one")
        self.samples = dataset.samples
        self.sampler = training_sampler(dataset, seed)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.image_size = image_size
        self.context_length = context_length
        self.augmentation = augmentation
        self.seed = seed
        self.captions_per_image = captions_per_image
        self.background = background
        self.patch_counts = patch_counts
        self.local_batch_size = batch_size // world_size
        self.local_offset = rank * self.local_batch_size
        self.class_indices = (
            {name: i for i, name in enumerate(dataset.classnames)} if with_labels else None
        )

    def batches(
        self, first_step: int, last_step: int, *, workers: int = 0, pin_memory: bool = False
    ) -> Iterator[Batch]:
        """Batches `first_step` to `last_step` (not included), read ahead.

        Args:
            first_step: Number of the first batch.
            last_step: Number of the batch after the last.
            workers: Processes that read and change the images; with 0, threads of this process
                read, and the images are changed here.
            pin_memory: Whether the batches are to go to a GPU.

        Raises:
            DataError: See the class; or a worker died.
        """
        steps = range(first_step, last_step)
        if workers:
            yield from read_in_processes(self.batch, steps, workers=workers, pin_memory=pin_memory)
        else:
            # torch's own threads would fight with those of the model: not in the reading threads.
            for step, batch in zip(steps, read_in_threads(self._read_batch, steps), strict=True):
                changed = self._augment(batch, step)
                yield changed.pin_memory() if pin_memory else changed

    def batch(self, step: int) -> Batch:
        """Batch number `step`: a pure function of the data, the seed and the number."""
        return self._augment(self._read_batch(step), step)

    def _augment(self, batch: Batch, step: int) -> Batch:
        mixed = np.random.SeedSequence([self.seed, step]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(mixed >> 1))
        pixels = augment(
            batch.pixels,
            self.augmentation,
            generator,
            batch_offset=self.local_offset,
            batch_size=self.batch_size,
        )
        return replace(batch, pixels=pixels)

    def _read_batch(self, step: int) -> Batch:
        """Decoded and cropped images with their captions."""
        start = step * self.batch_size + self.local_offset
        positions = range(start, start + self.local_batch_size)
        bad: list[BadSample] = []
        pairs = [self._read_pair(position, bad) for position in positions]
        pixels = torch.from_numpy(np.stack([pair.pixels for pair in pairs]))
        tokens, truncated = self._tokenize([pair.captions for pair in pairs])
        return Batch(
            pixels=pixels.permute(0, 3, 1, 2).contiguous(),
            tokens=tokens,
            concept_ids=torch.tensor([pair.concept_ids for pair in pairs]).T.contiguous(),
            num_truncated=truncated,
            labels=torch.tensor([pair.label for pair in pairs]) if self.class_indices else None,
            patch_indices=self._draw_patch_indices(positions) if self.patch_counts else None,
            bad_samples=tuple(bad),
            passed_over=tuple(one for pair in pairs for one in pair.passed_over),
        )

    def _read_pair(self, position: int, bad_samples: list[BadSample]) -> _Pair:
        """The pair at a place of the stream, or another one in its place."""
        refused: list[_Rejected] = []
        for attempt in range(REPLACEMENT_WINDOW + 1):
            key, tried = self._try_sample(position, attempt)
            if isinstance(tried, _Pair):
                bad_samples += [
                    BadSample(position=position, kind=kind, reason=reason, replaced_by=key)
                    for kind, reason in refused
                ]
                return tried
            refused.append(tried)
            # Without a caption is how some data is; damaged samples in a row are a fault.
            if sum(one.kind != NO_CAPTION for one in refused) > MAX_REPLACEMENTS:
                break
        first = refused[0].reason
        raise DataError(f"training data: {len(refused):,} samples in a row are bad: {first}")

    def _try_sample(self, position: int, attempt: int) -> tuple[str, _Pair | _Rejected]:
        """The key of a sample and what came of it."""
        try:
            sample = self.samples[self._sample_index(position, attempt)]
        except DataError as error:
            return "", _Rejected(UNREADABLE_SAMPLE, str(error))
        texts = self._candidate_captions(sample)
        if not texts:
            odd = f" ({'; '.join(sample.passed_over)})" if sample.passed_over else ""
            reason = f"{sample.where}: got no caption{odd}"
            kind = UNREADABLE_SAMPLE if NO_FILE in sample.passed_over else NO_CAPTION
            return sample.key, _Rejected(kind, reason)
        if self.class_indices is not None and sample.label not in self.class_indices:
            reason = f"{sample.where}: got the label {sample.label!r}, expected a class"
            return sample.key, _Rejected(UNKNOWN_LABEL, reason)
        rng = np.random.default_rng([self.seed, position])
        try:
            image = self._crop_image(sample, rng)
        except DataError as error:
            return sample.key, _Rejected(UNDECODABLE_IMAGE, str(error))
        told = sample.passed_over if position < len(self.samples) and not attempt else ()
        drawn = self._draw_captions(texts, rng)
        return sample.key, _Pair(
            pixels=image,
            captions=drawn,
            concept_ids=[hash_key((sample.concept or text).encode()) >> 1 for text in drawn],
            label=self.class_indices[str(sample.label)] if self.class_indices else 0,
            passed_over=tuple((reason, sample.where) for reason in told),
        )

    def _sample_index(self, position: int, attempt: int) -> int:
        if not attempt:
            return self.sampler.sample_index(position)
        # Another place of the stream, not of the list: not far in its storage, and drawn from the
        # sources of a mixture by their weights.
        ahead = np.random.default_rng([self.seed, position, attempt]).integers(
            1, REPLACEMENT_WINDOW
        )
        return self.sampler.sample_index(position + int(ahead))

    def _draw_patch_indices(self, positions: range) -> Int64[Tensor, "pair kept"]:
        patches, kept = self.patch_counts or (0, 0)
        rows = [
            np.sort(
                np.random.default_rng([self.seed, place, MAX_REPLACEMENTS + 1]).permutation(
                    patches
                )[:kept]
            )
            for place in positions
        ]
        return torch.from_numpy(np.stack(rows))

    def _crop_image(self, sample: Sample, rng: np.random.Generator) -> NDArray[np.uint8]:
        image = decode_image(sample.image_bytes(), background=self.background, name=sample.where)
        return random_square_crop(image, self.image_size, self.augmentation.min_crop_side, rng)

    def _candidate_captions(self, sample: Sample) -> tuple[str, ...]:
        if not sample.captions and self.class_indices is not None and sample.label is not None:
            return (sample.label,)  # nobody reads it where labels are learned
        return sample.captions

    def _draw_captions(self, captions: tuple[str, ...], rng: np.random.Generator) -> list[str]:
        # What a data set's lists begin with, often plain names, is learned from in every step.
        # A caption stands for as many numbers as there are sets, a set for as many as captions.
        starts = len(captions) * np.arange(self.captions_per_image)
        return [
            captions[i // self.captions_per_image]
            for i in rng.integers(starts, starts + len(captions))
        ]

    def _tokenize(self, captions: list[list[str]]) -> tuple[Int64[Tensor, "set pair length"], int]:
        """Tokens, and how many captions were cut."""
        texts = [caption for one_set in zip(*captions, strict=True) for caption in one_set]
        tokens, cut = self.tokenizer.encode_truncated(texts, self.context_length)
        return torch.from_numpy(tokens).view(self.captions_per_image, len(captions), -1), cut
