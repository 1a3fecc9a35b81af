"""Small images in a page: what their text decodes to."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from twinlens.errors import DataError
from twinlens.images.data_uri import image_data_uri

START = "data:image/webp;base64,"
SLOPE = np.add.outer(np.arange(600) // 4, np.arange(900) // 9).astype(np.uint8)
SMOOTH = Image.fromarray(np.stack([SLOPE, 255 - SLOPE, SLOPE // 2], -1))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(uri: str) -> Image.Image:
    assert uri.startswith(START)
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(START), validate=True)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_it_is_the_image_made_smaller_and_upright(kind: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = decoded(image_data_uri(encoded(SMOOTH, kind, exif=exif, quality=95), 120, quality=95))
    expected = SMOOTH.resize((120, 80))
    if orientation == 6:
        expected = expected.transpose(Image.Transpose.ROTATE_270)
    assert small.size == expected.size
    assert small.getexif().get(0x0112, 1) == 1
    difference = np.asarray(small.convert("RGB")).astype(int) - np.asarray(expected)
    assert np.abs(difference).mean() < 3


def test_small_images_keep_their_size_and_transparency_is_white():
    clear = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    small = decoded(image_data_uri(encoded(clear, "PNG")))
    assert small.size == (20, 10)
    assert np.asarray(small.convert("RGB")).min() > 250


def test_an_image_that_cannot_be_read_is_named():
    with pytest.raises(DataError, match=r"^a name: got a file that begins with"):
        image_data_uri(b"not an image", name="a name")
