"""Images decoded by all cores, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from twinlens.errors import DataError
from twinlens.hardware import usable_cpu_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.types import ImageInput


OnPixels: TypeAlias = Callable[[UInt8[np.ndarray, "batch 3 size size"]], object]
"""Called with the pixels of a batch: uint8 [batch, 3, size, size]."""


def as_image_list(images: ImageInput | Iterable[ImageInput]) -> Iterable[ImageInput]:
    """One image as a list of it; several as they are."""
    single = isinstance(images, str | Path | bytes | Image.Image)
    if single or (isinstance(images, np.ndarray) and images.ndim <= 3):
        return [cast("ImageInput", images)]
    if not isinstance(images, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        got = type(images).__name__
        raise DataError(f"images: got {got}, expected paths, bytes, PIL images or arrays")
    return cast("Iterable[ImageInput]", images)


def decode_batches(
    images: Iterable[ImageInput],
    decode: Callable[[ImageInput], NDArray[np.uint8]],
    batch_size: int,
    failures: dict[int, DataError] | None,
    *,
    on_pixels: OnPixels | None = None,
    prefetch: bool,
) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
    """Pixels of images in their order, those that cannot be read left out.

    Args:
        images: The images; no more than two batches of them are asked for ahead.
        decode: Decodes one to [size, size, 3].
        batch_size: Most images of a batch.
        failures: Gets what is wrong with images by their position; None raises it instead.
        on_pixels: Called with the pixels of each batch, uint8 [batch, 3, size, size], in order.
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

    def show(batches: Iterator[UInt8[np.ndarray, "batch size size 3"]]) -> Iterator[Any]:
        for batch in batches:
            if on_pixels is not None:
                on_pixels(batch.transpose(0, 3, 1, 2))
            yield batch

    numbered = enumerate(images)
    with ThreadPoolExecutor(usable_cpu_count()) as pool:
        waiting: list[Future[NDArray[np.uint8] | None]] = []
        for batch in iter(lambda: list(islice(numbered, batch_size)), []):
            decoding = [pool.submit(attempt, index, image) for index, image in batch]
            if not prefetch:
                yield from show(_stack_decoded(decoding))
                continue
            yield from show(_stack_decoded(waiting))
            waiting = decoding
        yield from show(_stack_decoded(waiting))


def _stack_decoded(
    futures: list[Future[NDArray[np.uint8] | None]],
) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
    arrays = [pixels for one in futures if (pixels := one.result()) is not None]
    if arrays:
        yield np.stack(arrays)
