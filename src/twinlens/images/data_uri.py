"""Small images as text that a page holds in itself."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from twinlens.images.decode import decode_thumbnail

if TYPE_CHECKING:
    from twinlens.types import ImageInput


def image_data_uri(
    image: ImageInput, size: int = 256, *, quality: int = 85, name: str | None = None
) -> str:
    """The image in the page itself: WebP of at most `size` pixels a side, upright, on white.

    Args:
        image: The image.
        size: Of the longer side.
        quality: WebP's, 0 to 100.
        name: What messages call the image; by default its path.

    Raises:
        DataError: The image cannot be decoded.
    """
    small = decode_thumbnail(image, size, name=name)
    out = io.BytesIO()
    small.save(out, "webp", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
