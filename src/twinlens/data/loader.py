"""Batches of training pairs, in an order that is a function of the seed alone.

Batch number `step` of a run is the same whoever asks for it and whenever, in whichever process:
resuming needs no state beyond the number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from twinlens.data.augment import Augmentation, augment, random_square_crop
from twinlens.data.left_out import NO_CAPTION
from twinlens.data.prefetch import read_in_processes, read_in_threads
from twinlens.data.sampler import SampleOrder
from twinlens.data.samples import Dataset, Sample
from twinlens.data.sources.captions import UNREADABLE as NO_FILE
from twinlens.errors import DataError
from twinlens.images.decode import decode_image
from twinlens.types import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRIES = 10
"""Samples asked in the place of one that cannot be used, before the run stops."""

NEAR = 1000
"""How far on in the stream those are looked for; and how many without a caption are passed by."""

UNREADABLE = "sample that cannot be read"
UNDECODABLE = "image that cannot be decoded"
NO_LABEL = "image without one of the classes"


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
    """What one process sees of a training step.

    Attributes:
        pixels: uint8, not normalised.
        tokens: Padded, `context_length` wide; one set of captions after the other.
        concepts: Equal numbers depict the same thing (see `contrastive_loss`); where the data
            does not say what an image depicts, its caption counts.
        truncated: How many captions were longer than the context and cut.
        labels: Places in the data set's class names, where they were asked for.
        kept: Patches of each image that are shown to the model, in order; all of them if None.
        bad: Samples that could not be used and were replaced.
        passed_over: What samples say that is of another kind, a reason and a sample each; of each
            sample once, in the first epoch.
    """

    pixels: UInt8[Tensor, "pair 3 size size"]
    tokens: Int64[Tensor, "set pair length"]
    concepts: Int64[Tensor, "set pair"]
    truncated: int
    labels: Int64[Tensor, " pair"] | None = None
    kept: Int64[Tensor, "pair kept"] | None = None
    bad: tuple[BadSample, ...] = ()
    passed_over: tuple[tuple[str, str], ...] = ()

    def pin_memory(self) -> Batch:
        """A copy that is quick to bring to a GPU."""
        tensors = {
            name: value.pin_memory()
            for name in ("pixels", "tokens", "concepts", "labels", "kept")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **tensors)


@dataclass(frozen=True, slots=True)
class _Pair:
    """One pair as it was drawn."""

    image: NDArray[np.uint8]
    captions: list[str]
    concepts: list[int]
    label: int
    passed_over: tuple[tuple[str, str], ...] = ()


class _Refused(NamedTuple):
    """Why a sample cannot be used: how it is counted, and what was wrong, and where."""

    kind: str
    reason: str


class PairLoader:
    """Cuts an endless stream of shuffled epochs into batches.

    Each process of a world reads its own consecutive share of a step's pairs. Whatever is random
    about a pair (sample, crop, captions, colours, patches) follows from the seed and from its place
    in the stream, so that the shares of any number of processes join to the same batch.

    A sample that cannot be used is replaced by another, drawn from (seed, place, try) and told of
    in the batch.

    Of the `captions` sets of a batch each draws from its own share of an image's caption list,
    in order: with two, the first from the first half, the second from the second. A caption on
    the border belongs to both shares in proportion; all together, each is drawn as often as any.

    Args:
        dataset: Where the pairs come from.
        tokenizer: The vocabulary.
        batch_size: Pairs a step, of all processes together.
        image_size: Side of the images in pixels.
        context_length: Most tokens of a text.
        augmentation: Random changes of the images.
        seed: What decides.
        captions: Captions drawn for an image.
        background: What transparent images are laid on.
        rank: Which process this is.
        world_size: Of how many.
        patches: Patches of an image and how many of them are kept, for patch dropout.
        labels: Whether to give labels; a sample without one counts as bad.

    Raises:
        DataError: The data set is empty, or in the place of a bad sample `TRIES` others are bad
            too, or `NEAR` others without a caption.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Vocabulary,
        *,
        batch_size: int,
        image_size: int,
        context_length: int,
        augmentation: Augmentation,
        seed: int,
        captions: int = 1,
        background: tuple[int, int, int] = (255, 255, 255),
        rank: int = 0,
        world_size: int = 1,
        patches: tuple[int, int] | None = None,
        labels: bool = False,
    ) -> None:
        if not dataset.samples:
            raise DataError("training data: got no samples, expected at least one")
        self.samples = dataset.samples
        self.order = SampleOrder(dataset, seed)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.image_size = image_size
        self.context_length = context_length
        self.augmentation = augmentation
        self.seed = seed
        self.captions = captions
        self.background = background
        self.patches = patches
        self.share = batch_size // world_size
        self.first = rank * self.share
        self.places = {name: i for i, name in enumerate(dataset.classnames)} if labels else None

    def batches(
        self, first_step: int, last_step: int, *, workers: int = 0, pin: bool = False
    ) -> Iterator[Batch]:
        """Batches `first_step` to `last_step` (not included), read ahead.

        Args:
            first_step: Number of the first batch.
            last_step: Number of the batch after the last.
            workers: Processes that read and change the images; with 0, threads of this process
                read, and the images are changed here.
            pin: Whether the batches are to go to a GPU.

        Raises:
            DataError: See the class; or a worker died.
        """
        steps = range(first_step, last_step)
        if workers:
            yield from read_in_processes(self.batch, steps, workers=workers, pin=pin)
        else:
            # torch's own threads would fight with those of the model: not in the reading threads.
            for step, batch in zip(steps, read_in_threads(self._read, steps), strict=True):
                changed = self._augmented(batch, step)
                yield changed.pin_memory() if pin else changed

    def batch(self, step: int) -> Batch:
        """Batch number `step`: a pure function of the data, the seed and the number."""
        return self._augmented(self._read(step), step)

    def _augmented(self, batch: Batch, step: int) -> Batch:
        generator = torch.Generator().manual_seed(_mix(self.seed, step))
        pixels = augment(
            batch.pixels, self.augmentation, generator, first=self.first, batch=self.batch_size
        )
        return replace(batch, pixels=pixels)

    def _read(self, step: int) -> Batch:
        """Decoded and cropped images with their captions."""
        start = step * self.batch_size + self.first
        positions = range(start, start + self.share)
        bad: list[BadSample] = []
        pairs = [self._pair(position, bad) for position in positions]
        pixels = torch.from_numpy(np.stack([pair.image for pair in pairs]))
        tokens, truncated = self._tokens([pair.captions for pair in pairs])
        return Batch(
            pixels=pixels.permute(0, 3, 1, 2).contiguous(),
            tokens=tokens,
            concepts=torch.tensor([pair.concepts for pair in pairs]).T.contiguous(),
            truncated=truncated,
            labels=torch.tensor([pair.label for pair in pairs]) if self.places else None,
            kept=self._kept(positions) if self.patches else None,
            bad=tuple(bad),
            passed_over=tuple(one for pair in pairs for one in pair.passed_over),
        )

    def _pair(self, position: int, bad: list[BadSample]) -> _Pair:
        """The pair at a place of the stream, or another one in its place."""
        refused: list[_Refused] = []
        for attempt in range(NEAR + 1):
            key, tried = self._tried(position, attempt)
            if isinstance(tried, _Pair):
                bad += [
                    BadSample(position=position, kind=kind, reason=reason, replaced_by=key)
                    for kind, reason in refused
                ]
                return tried
            refused.append(tried)
            # Without a caption is how some data is; damaged samples in a row are a fault.
            if sum(one.kind != NO_CAPTION for one in refused) > TRIES:
                break
        first = refused[0].reason
        raise DataError(f"training data: {len(refused):,} samples in a row are bad: {first}")

    def _tried(self, position: int, attempt: int) -> tuple[str, _Pair | _Refused]:
        """The key of a sample and what came of it."""
        try:
            sample = self.samples[self._index(position, attempt)]
        except DataError as error:
            return "", _Refused(UNREADABLE, str(error))
        texts = self._captions_of(sample)
        if not texts:
            odd = f" ({'; '.join(sample.passed_over)})" if sample.passed_over else ""
            reason = f"{sample.where}: got no caption{odd}"
            kind = UNREADABLE if NO_FILE in sample.passed_over else NO_CAPTION
            return sample.key, _Refused(kind, reason)
        if self.places is not None and sample.label not in self.places:
            reason = f"{sample.where}: got the label {sample.label!r}, expected a class"
            return sample.key, _Refused(NO_LABEL, reason)
        rng = np.random.default_rng([self.seed, position])
        try:
            image = self._image(sample, rng)
        except DataError as error:
            return sample.key, _Refused(UNDECODABLE, str(error))
        told = sample.passed_over if position < len(self.samples) and not attempt else ()
        drawn = self._drawn(texts, rng)
        return sample.key, _Pair(
            image=image,
            captions=drawn,
            concepts=[_concept_number(sample.concept or text) for text in drawn],
            label=self.places[str(sample.label)] if self.places else 0,
            passed_over=tuple((reason, sample.where) for reason in told),
        )

    def _index(self, position: int, attempt: int) -> int:
        if not attempt:
            return self.order.at(position)
        # Another place of the stream, not of the list: not far in its storage, and drawn from the
        # sources of a mixture by their weights.
        ahead = np.random.default_rng([self.seed, position, attempt]).integers(1, NEAR)
        return self.order.at(position + int(ahead))

    def _kept(self, positions: range) -> Int64[Tensor, "pair kept"]:
        patches, kept = self.patches or (0, 0)
        rows = [
            np.sort(
                np.random.default_rng([self.seed, place, TRIES + 1]).permutation(patches)[:kept]
            )
            for place in positions
        ]
        return torch.from_numpy(np.stack(rows))

    def _image(self, sample: Sample, rng: np.random.Generator) -> NDArray[np.uint8]:
        image = decode_image(sample.image_bytes(), background=self.background, name=sample.where)
        return random_square_crop(image, self.image_size, self.augmentation.crop_side, rng)

    def _captions_of(self, sample: Sample) -> tuple[str, ...]:
        if not sample.captions and self.places is not None and sample.label is not None:
            return (sample.label,)  # nobody reads it where labels are learned
        return sample.captions

    def _drawn(self, captions: tuple[str, ...], rng: np.random.Generator) -> list[str]:
        # What a data set's lists begin with, often plain names, is learned from in every step.
        # A caption stands for as many numbers as there are sets, a set for as many as captions.
        starts = len(captions) * np.arange(self.captions)
        return [captions[i // self.captions] for i in rng.integers(starts, starts + len(captions))]

    def _tokens(self, captions: list[list[str]]) -> tuple[Int64[Tensor, "set pair length"], int]:
        """Tokens, and how many captions were cut."""
        texts = [caption for one_set in zip(*captions, strict=True) for caption in one_set]
        tokens, cut = self.tokenizer.fitted(texts, self.context_length)
        return tokens.view(self.captions, len(captions), -1), cut


def _concept_number(concept: str) -> int:
    """A 63-bit number for a concept, the same in every process."""
    digest = hashlib.blake2b(concept.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mix(seed: int, step: int) -> int:
    """One well-spread number of two."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)
