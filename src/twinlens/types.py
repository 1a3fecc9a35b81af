"""Names for what is passed around: pictures as users hand them in, and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

ImageInput: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.uint8]"
"""A picture: a path, an encoded file's bytes, a PIL image, or uint8 [height, width, 3 or 1]."""

Embeddings: TypeAlias = "NDArray[np.float32]"
"""Unit vectors, float32 [n, embed_dim]."""
