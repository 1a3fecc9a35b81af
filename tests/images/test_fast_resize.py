"""The fast way to pixels against the exact one: how far off, and what it refuses."""

import io
import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bench.photos import photograph
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import twinlens
from tests.images.test_decode import KINDS, claims, encoded, noise, photo
from tests.tiny import tiny_clip
from twinlens.config import PreprocessConfig, ViTConfig
from twinlens.embed.embedder import Embedder
from twinlens.errors import DataError, UnknownNameError
from twinlens.images import decode
from twinlens.images.decode import to_pixels
from twinlens.images.fast_resize import resize_fast
from twinlens.images.resize import DecodedImage, crop_start, resized_size, turn_upright
from twinlens.model.clip import CLIP
from twinlens.types import DecodeMode

CONFIG = PreprocessConfig(image_size=32)
MAX_MEAN_ERROR = 1.0
"""Levels of 255, on average over an image."""

MIN_COSINE = 0.998

SQUARES = list(itertools.product((64, 224, 336), ("crop", "squash")))


@cache
def camera(width: int, height: int) -> Image.Image:
    return photograph(width, height, seed=width + height)


def error(source: Any, size: int = 224, resize: Any = "crop", **settings: Any) -> float:
    """How far fast is from exact on average, in levels."""
    config = PreprocessConfig(image_size=size, resize=resize, **settings)
    exact, fast = (to_pixels(source, config, way).astype(np.int16) for way in ("exact", "fast"))
    return float(np.abs(fast - exact).mean())


def with_orientation(image: Image.Image, orientation: int, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif)


def decoded_size(data: bytes, size: int) -> tuple[int, int]:
    opened = decode._open(data, "x", decode.DecodeLimits()).image
    decode._draft_jpeg(opened, decode._MIN_DRAFT_RATIO * size)
    return opened.size


# How far it is off


@pytest.mark.parametrize(("size", "resize"), SQUARES)
@pytest.mark.parametrize(
    "shape",
    [(300, 400), (640, 427), (427, 640), (1100, 830), (1360, 1344), (900, 1601), (2400, 450)],
)
def test_photographs_are_within_a_level(shape: tuple[int, int], size: int, resize: str):
    data = encoded(camera(*shape), "JPEG", quality=87)
    assert error(data, size, resize) <= MAX_MEAN_ERROR


def test_bilinear_images_are_within_a_level():
    data = encoded(camera(1100, 830), "JPEG", quality=87)
    for size, resize in SQUARES:
        assert error(data, size, resize, interpolation="bilinear") <= MAX_MEAN_ERROR


def test_what_cameras_write_is_within_a_level():
    data = encoded(camera(4000, 2250), "JPEG", quality=90)
    assert decoded_size(data, 224) == (1000, 563)
    assert decoded_size(data, 64) == (500, 282)
    for size in (64, 224, 336):
        assert error(data, size) <= MAX_MEAN_ERROR


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg(quality: int, subsampling: str, progressive: bool):
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    data = encoded(camera(1100, 901), "JPEG", **options)
    assert decoded_size(data, 224) == (550, 451)
    assert 0 < error(data) <= MAX_MEAN_ERROR


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colour_models(mode: str):
    data = encoded(camera(1100, 901).convert(mode), "JPEG", quality=90)
    for size, resize in SQUARES:
        assert error(data, size, resize) <= MAX_MEAN_ERROR


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("shape", [(1100, 901), (905, 1103)])
def test_orientations(orientation: int, shape: tuple[int, int]):
    """Odd sides: what is blank, and where the crop is rounded to, turns with the image."""
    data = with_orientation(camera(*shape), orientation)
    for size, resize in SQUARES:
        assert error(data, size, resize) <= MAX_MEAN_ERROR


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(90, 61), (61, 90), (75, 40)])
def test_nothing_but_rounding_where_nothing_is_decoded_smaller(
    orientation: int, shape: tuple[int, int]
):
    for kind in ("PNG", "WEBP", "JPEG"):
        data = with_orientation(photo(*shape), orientation, kind)
        for size, resize in ((32, "crop"), (31, "crop"), (32, "squash")):
            config = PreprocessConfig(image_size=size, resize=resize)
            exact, fast = (to_pixels(data, config, w).astype(np.int16) for w in ("exact", "fast"))
            assert np.abs(fast - exact).max() <= 2


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    size=st.integers(1, 64),
    kind=st.sampled_from(["JPEG", "PNG"]),
    orientation=st.integers(1, 8),
    resize=st.sampled_from(["crop", "squash"]),
)
@example(shape=(1, 3000), size=64, kind="JPEG", orientation=6, resize="crop")
@example(shape=(3000, 1), size=64, kind="JPEG", orientation=3, resize="squash")
@example(shape=(4001, 17), size=1, kind="JPEG", orientation=8, resize="crop")
def test_any_shape_gives_a_square(
    shape: tuple[int, int], size: int, kind: str, orientation: int, resize: Any
):
    data = with_orientation(Image.new("RGB", shape, (200, 100, 50)), orientation, kind)
    pixels = to_pixels(data, PreprocessConfig(image_size=size, resize=resize), "fast")
    assert pixels.shape == (size, size, 3)
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 3


def test_the_blank_edge_of_a_smaller_jpeg_is_not_shown():
    """A side of 8n + 1 pixels decodes to n + 1: taken for the image's, it would be stretched."""
    steps = np.repeat(np.arange(0, 257, 8), 8)[:257].clip(0, 255).astype(np.uint8)
    ramp = np.repeat(np.tile(steps, (257, 1))[..., None], 3, axis=2)
    data = encoded(Image.fromarray(ramp), "JPEG", quality=98, subsampling=0)
    assert decoded_size(data, 16) == (33, 33)
    assert error(data, 16) < 0.3


@pytest.mark.parametrize("name", ["icons", "vit"])
def test_embeddings_hardly_move(name: str):
    lens = twinlens.load() if name == "icons" else Embedder.from_model(random_vit(), None)
    shapes = [(640, 427), (450, 601), (1100, 901), (2400, 450), (1360, 1344), (4000, 2250)]
    files = [encoded(camera(*shape), "JPEG", quality=87) for shape in shapes]
    config = lens.config.preprocess_config
    exact = lens.embed_images([to_pixels(data, config) for data in files])
    fast = lens.embed_images([to_pixels(data, config, "fast") for data in files])
    assert not np.array_equal(exact, fast)
    assert (exact * fast).sum(axis=1).min() >= MIN_COSINE


def random_vit() -> CLIP:
    vision = ViTConfig(
        image_size=224, patch_size=32, width=192, layers=4, heads=3, activation="gelu"
    )
    return tiny_clip(vision=vision, preprocess=PreprocessConfig(image_size=224), embed_dim=64)


# Equal to torch's bytes


def by_torch(decoded: DecodedImage, config: PreprocessConfig) -> Image.Image:
    size, content = config.image_size, decoded.content_size
    width, height = (size, size) if config.resize == "squash" else resized_size(content, size)
    left = crop_start(width, size, flipped=decoded.orientation in (2, 3, 7, 8))
    top = crop_start(height, size, flipped=decoded.orientation in (3, 4, 6, 7))
    scale = [(1 + 1e-9) * height / content[1], (1 + 1e-9) * width / content[0]]
    pixels = torch.from_numpy(np.array(decoded.rgb)).permute(2, 0, 1)[None]
    made = F.interpolate(pixels, scale_factor=scale, mode=config.interpolation, antialias=True)
    square = made[0].permute(1, 2, 0).numpy()[top : top + size, left : left + size]
    return turn_upright(Image.fromarray(square), decoded.orientation)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="elsewhere torch rounds its weights otherwise",
)
@settings(max_examples=300, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    blank=st.tuples(st.sampled_from([0, 0.125, 0.9]), st.sampled_from([0, 0.5])),
    size=st.sampled_from([1, 2, 15, 16, 17, 33, 64, 224, 336]),
    orientation=st.integers(1, 8),
    way=st.tuples(
        st.sampled_from(["crop", "squash"]),
        st.sampled_from(["bicubic", "bilinear"]),
        st.booleans(),
    ),
)
@example((640, 480), (0, 0), 224, 1, ("crop", "bicubic", False))
@example((500, 375), (0, 0), 224, 6, ("crop", "bilinear", True))
@example((3000, 1999), (0.125, 0.5), 224, 1, ("crop", "bicubic", True))
@example((1, 3000), (0, 0), 64, 6, ("squash", "bicubic", True))
@example((4001, 17), (0, 0), 1, 8, ("crop", "bilinear", True))
@example((3001, 20), (0, 0), 64, 3, ("crop", "bicubic", False))
@example((224, 300), (0, 0), 224, 1, ("squash", "bicubic", False))
def test_equal_to_torch(
    shape: tuple[int, int],
    blank: tuple[float, float],
    size: int,
    orientation: int,
    way: tuple[Any, Any, bool],
):
    resize, interpolation, contrast = way
    levels = np.random.default_rng(sum(shape)).integers(0, 256, (shape[1], shape[0], 3), np.uint8)
    image = Image.fromarray((levels > 127).astype(np.uint8) * 255 if contrast else levels)
    decoded = DecodedImage(image, (shape[0] - blank[0], shape[1] - blank[1]), orientation)
    config = PreprocessConfig(image_size=size, resize=resize, interpolation=interpolation)
    assume(size * size * max(decoded.content_size) / min(decoded.content_size) < 2**24)
    expected = np.asarray(by_torch(decoded, config))
    assert np.array_equal(np.asarray(resize_fast(decoded, config)), expected)


# Sources, limits, damage


def test_paths_bytes_images_and_arrays_agree(tmp_path: Path):
    path = tmp_path / "a.png"
    photo(90, 60).save(path)
    expected = to_pixels(path, CONFIG, "fast")
    for source in (str(path), path.read_bytes(), Image.open(path), np.array(photo(90, 60))):
        assert np.array_equal(to_pixels(source, CONFIG, "fast"), expected)


def test_an_image_given_is_left_as_large_as_it_was():
    opened = Image.open(io.BytesIO(encoded(photo(400, 300), "JPEG")))
    to_pixels(opened, CONFIG, "fast")
    assert opened.size == (400, 300)
    assert np.asarray(opened).shape == (300, 400, 3)


def test_pixels_are_an_array_of_their_own():
    source = noise(32, 32)
    pixels = to_pixels(source, CONFIG, "fast")
    assert np.array_equal(pixels, source)
    pixels[:] = 0
    assert source.any()


def test_transparency_is_laid_on_the_background():
    clear = encoded(Image.new("RGBA", (90, 60), (250, 0, 0, 0)), "PNG")
    config = PreprocessConfig(image_size=32, background=(10, 20, 30))
    assert (to_pixels(clear, config, "fast") == (10, 20, 30)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_bombs_are_refused_in_the_same_words(kind: str):
    bomb = claims(kind, 16_000, 16_000)
    assert refusal(bomb, "fast") == refusal(bomb, "exact")
    assert "got 16,000 x 16,000 pixels, expected at most" in refusal(bomb, "fast")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.995])
def test_jpegs_cut_short_are_refused_in_the_same_words(kept: float, progressive: bool):
    whole = encoded(photo(500, 400), "JPEG", progressive=progressive)
    assert decoded_size(whole, 32) == (125, 100)
    cut = whole[: int(len(whole) * kept)]
    assert refusal(cut, "fast") == refusal(cut, "exact") != ""


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_by_both_or_by_none(data: st.DataObject):
    kind = data.draw(st.sampled_from(["JPEG", "JPEG", "PNG", "WEBP", "GIF", "BMP"]))
    broken = bytearray(encoded(photo(160, 100), kind))
    for _ in range(data.draw(st.integers(0, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(broken[: data.draw(st.integers(0, len(broken)))])
    for file in (bytes(broken), cut):
        assert bool(refusal(file, "fast")) == bool(refusal(file, "exact"))


def refusal(data: bytes, decode: DecodeMode) -> str:
    """What is said of a file, or nothing where it is taken."""
    try:
        to_pixels(data, CONFIG, decode)
    except DataError as error:
        return str(error)
    return ""


def test_an_unknown_way_to_decode():
    with pytest.raises(UnknownNameError, match=r"unknown decode 'fats': did you mean 'fast'\?"):
        to_pixels(photo(9, 9), CONFIG, "fats")  # pyright: ignore[reportArgumentType]
