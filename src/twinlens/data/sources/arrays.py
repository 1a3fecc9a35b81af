"""Images that lie in one array, as small data sets of the literature come."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt8
from PIL import Image


@dataclass(frozen=True, eq=False)
class GreyImages:
    """Grey images of one size.

    Attributes:
        name: What to call them, in messages.
        pixels: The images, 0 black and 255 white.
    """

    name: str
    pixels: UInt8[np.ndarray, "image height width"]

    @cached_property
    def digest(self) -> str:
        """Thirty-two hexadecimal digits of shape and content."""
        digest = hashlib.blake2b(repr(self.pixels.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """An image in an array."""

    images: GreyImages
    index: int

    @property
    def mark(self) -> tuple[str, int]:
        """The image's identity: the content of all images and its place."""
        return self.images.digest, self.index

    def read_image(self) -> bytes:
        """The image as a PNG file, without loss (and not made small: it is read at once).

        Example:
            >>> image = ArrayImage(GreyImages("black", np.zeros((1, 2, 3), np.uint8)), 0)
            >>> Image.open(io.BytesIO(image.read_image())).size
            (3, 2)
        """
        file = io.BytesIO()
        Image.fromarray(self.images.pixels[self.index]).save(file, "PNG", compress_level=0)
        return file.getvalue()

    def __str__(self) -> str:
        return f"{self.images.name}: image {self.index}"
