"""Images decoded by all cores, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from twinlens.errors import DataError
from twinlens.hardware import usable_cpu_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.types import ImageInput


def decode_batches(
    images: Iterable[ImageInput],
    decode: Callable[[ImageInput], NDArray[np.uint8]],
    batch_size: int,
    failures: dict[int, DataError] | None,
    *,
    prefetch: bool,
) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
    """Pixels of images in their order, those that cannot be read left out.

    Args:
        images: The images; no more than two batches of them are asked for ahead.
        decode: Decodes one to [size, size, 3].
        batch_size: Most images of a batch.
        failures: Gets what is wrong with images by their position; None raises it instead.
        prefetch: Whether to decode one batch while the one before is worked on: a gain where
            another device does that work. On the same cores it is none.
    """

    def attempt(index: int, image: ImageInput) -> NDArray[np.uint8] | None:
        try:
            return decode(image)
        except DataError as error:
            if failures is None:
                raise
            failures[index] = error
            return None

    numbered = enumerate(images)
    with ThreadPoolExecutor(usable_cpu_count()) as pool:
        waiting: list[Future[NDArray[np.uint8] | None]] = []
        for batch in iter(lambda: list(islice(numbered, batch_size)), []):
            decoding = [pool.submit(attempt, index, image) for index, image in batch]
            if not prefetch:
                yield from _stack_decoded(decoding)
                continue
            yield from _stack_decoded(waiting)
            waiting = decoding
        yield from _stack_decoded(waiting)


def _stack_decoded(
    futures: list[Future[NDArray[np.uint8] | None]],
) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
    arrays = [pixels for one in futures if (pixels := one.result()) is not None]
    if arrays:
        yield np.stack(arrays)
