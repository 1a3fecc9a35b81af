"""Images decoded by all cores, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from twinlens.errors import DataError
from twinlens.hardware import usable_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.types import ImageInput

_T = TypeVar("_T")


def pixel_batches(
    images: Iterable[ImageInput],
    read: Callable[[ImageInput], NDArray[np.uint8]],
    batch_size: int,
    failures: dict[int, DataError] | None,
    *,
    ahead: bool,
) -> Iterator[UInt8[Tensor, "batch 3 size size"]]:
    """Pixels of images in their order, those that cannot be read left out.

    Args:
        images: The images; no more than two batches of them are asked for ahead.
        read: Decodes one to [size, size, 3].
        batch_size: Most images of a batch.
        failures: Gets what is wrong with images by their position; None raises it instead.
        ahead: Whether to decode one batch while the one before is worked on: a gain where another
            device does that work. On the same cores it is none.
    """

    def attempt(index: int, image: ImageInput) -> NDArray[np.uint8] | None:
        try:
            return read(image)
        except DataError as error:
            if failures is None:
                raise
            failures[index] = error
            return None

    with ThreadPoolExecutor(usable_cores()) as pool:
        waiting: list[Future[NDArray[np.uint8] | None]] = []
        for batch in _batched(enumerate(images), batch_size):
            decoding = [pool.submit(attempt, index, image) for index, image in batch]
            if not ahead:
                yield from _collected(decoding)
                continue
            yield from _collected(waiting)
            waiting = decoding
        yield from _collected(waiting)


def _collected(
    batch: list[Future[NDArray[np.uint8] | None]],
) -> Iterator[UInt8[Tensor, "batch 3 size size"]]:
    arrays = [pixels for one in batch if (pixels := one.result()) is not None]
    if arrays:
        yield torch.as_tensor(np.stack(arrays)).permute(0, 3, 1, 2)


def _batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
