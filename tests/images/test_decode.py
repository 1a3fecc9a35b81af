"""Images of every kind against what Pillow and torchvision's rules make of them."""

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from twinlens.config import PreprocessConfig
from twinlens.errors import DataError, ShapeError
from twinlens.images.decode import (
    DecodeLimits,
    decode_image,
    decode_thumbnail,
    read_image_file,
    to_pixels,
)
from twinlens.images.resize import _resize_and_crop
from twinlens.inference.preprocess import normalize

CONFIG = PreprocessConfig(image_size=32)
SMALL = Image.linear_gradient("L").resize((40, 30))


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Slopes and noise: an image with edges, colours and fine grain."""
    rough = Image.fromarray(noise(max(width // 8, 1), max(height // 8, 1), seed=seed))
    smooth = np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = np.random.default_rng(seed).normal(0, 6, smooth.shape)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reference(data: bytes, config: PreprocessConfig) -> torch.Tensor:
    """torchvision's Resize, CenterCrop, ToTensor and Normalize, written from their rules."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    size, (width, height) = config.image_size, image.size
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    if width <= height:
        target = (size, int(size * height / width))
    else:
        target = (int(size * width / height), size)
    image = image.resize(target, filters[config.interpolation])
    top, left = int(round((target[1] - size) / 2.0)), int(round((target[0] - size) / 2.0))  # noqa: RUF046
    image = image.crop((left, top, left + size, top + size))
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32)
    tensor = tensor.div(255)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (config.mean, config.std))
    return tensor.sub(mean).div(std)


def ours(source: Any, config: PreprocessConfig) -> torch.Tensor:
    pixels = torch.from_numpy(to_pixels(source, config))
    return normalize(pixels.permute(2, 0, 1)[None], config)[0]


# Parity with the reference


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.integers(1, 96),
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)
@example(width=1, height=1, size=32, kind="PNG", interpolation="bicubic")
@example(width=1, height=300, size=32, kind="PNG", interpolation="bicubic")
@example(width=32, height=32, size=32, kind="JPEG", interpolation="bicubic")
@example(width=32, height=47, size=32, kind="JPEG", interpolation="bicubic")
def test_equal_to_the_reference_to_the_last_bit(
    width: int, height: int, size: int, kind: str, interpolation: Any
):
    data = encoded(photo(width, height, seed=width * 1000 + height), kind)
    config = PreprocessConfig(image_size=size, interpolation=interpolation)
    assert torch.equal(ours(data, config), reference(data, config))


@pytest.mark.parametrize("size", [224, 288, 336])
@pytest.mark.parametrize("shape", [(433, 325), (640, 480), (500, 333), (200, 150), (1023, 767)])
def test_photographs_at_the_papers_sizes(shape: tuple[int, int], size: int):
    data = encoded(photo(*shape), "JPEG", quality=87, subsampling=2, progressive=size == 288)
    config = PreprocessConfig(image_size=size)
    assert torch.equal(ours(data, config), reference(data, config))


def test_normalize_of_every_value_in_every_channel():
    values = torch.arange(256, dtype=torch.uint8).repeat(2, 3, 1).view(2, 3, 16, 16)
    got = normalize(values, CONFIG)
    plain = values.to(torch.float32).div(255)
    mean, std = torch.tensor(CONFIG.mean), torch.tensor(CONFIG.std)
    assert torch.equal(got, plain.sub(mean.view(3, 1, 1)).div(std.view(3, 1, 1)))
    assert got.dtype == torch.float32
    last = values.contiguous(memory_format=torch.channels_last)
    assert normalize(last, CONFIG).is_contiguous()
    assert torch.equal(normalize(last, CONFIG), got)
    assert values[0, 0, 0, 1] == 1  # the argument is left alone


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_normalize_is_the_same_on_a_gpu():
    values = torch.arange(256, dtype=torch.uint8).repeat(2, 3, 1).view(2, 3, 16, 16)
    assert torch.equal(normalize(values.cuda(), CONFIG).cpu(), normalize(values, CONFIG))


def test_pixels_are_an_array_of_their_own():
    pixels = to_pixels(photo(50, 40), CONFIG)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


# Modes


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_modes_without_transparency_are_what_pillow_converts(mode: str, kind: str):
    data = encoded(photo(40, 30).convert(mode), kind)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(np.asarray(decode_image(data)), np.asarray(expected))


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("L", "WEBP")])
def test_other_colour_models_are_what_pillow_converts(mode: str, kind: str):
    data = encoded(photo(40, 30).convert(mode), kind)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    got = decode_image(data)
    assert got.mode == "RGB"
    assert np.array_equal(np.asarray(got), np.asarray(expected))


def test_inverted_cmyk_of_adobe_is_turned_right():
    """White paper in Adobe's JPEGs is 255 of each ink, with a marker that says so."""
    plain = encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")
    assert b"Adobe" in plain
    assert np.asarray(decode_image(plain)).min() > 250
    ycck = bytearray(plain)
    ycck[plain.index(b"Adobe") + 11] = 2  # the transform flag: YCCK
    assert decode_image(bytes(ycck)).mode == "RGB"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_on_the_background(kind: str):
    rgba = noise(8, 8, 4)
    rgba[:4, :, 3], rgba[4:, :, 3] = 0, 255
    data = encoded(Image.fromarray(rgba), kind, **({"lossless": True} if kind == "WEBP" else {}))
    pixels = np.asarray(decode_image(data, background=(10, 20, 30)))
    assert (pixels[:4] == (10, 20, 30)).all()
    assert (pixels[4:] == rgba[4:, :, :3]).all()
    assert (np.asarray(decode_image(data))[:4] == 255).all()  # white unless said


@given(alpha=st.integers(0, 255), value=st.integers(0, 255), behind=st.integers(0, 255))
def test_half_transparency_mixes(alpha: int, value: int, behind: int):
    data = encoded(Image.new("RGBA", (2, 2), (value, value, value, alpha)), "PNG")
    got = np.asarray(decode_image(data, background=(behind,) * 3))[0, 0, 0]
    assert abs(int(got) - (alpha * value + (255 - alpha) * behind) / 255) <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_transparent_colour_is_laid_on_the_background(mode: str):
    image = Image.new(mode, (4, 4), 7 if mode != "RGB" else (7, 7, 7))
    image.putpixel((0, 0), 9 if mode != "RGB" else (9, 9, 9))
    if mode == "P":
        image.putpalette([value for value in range(256) for _ in range(3)])
    data = encoded(image, "PNG", transparency=(7, 7, 7) if mode == "RGB" else 7)
    pixels = np.asarray(decode_image(data, background=(1, 2, 3)))
    assert pixels[0, 0].tolist() == [9, 9, 9]
    assert pixels[1, 1].tolist() == [1, 2, 3]


def test_a_palette_with_degrees_of_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((1, 0), 1)
    data = encoded(image, "PNG", transparency=bytes([0, 255]))
    assert np.asarray(decode_image(data))[0].tolist() == [[255, 255, 255], [0, 200, 0]]


def test_grey_with_alpha():
    data = encoded(Image.merge("LA", (SMALL, Image.new("L", SMALL.size, 0))), "PNG")
    assert (np.asarray(decode_image(data, background=(5, 6, 7))) == (5, 6, 7)).all()


def test_transparent_gif():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 250, 0, 0])
    image.putpixel((0, 0), 0)
    data = encoded(image, "GIF", transparency=1)
    pixels = np.asarray(decode_image(data, background=(0, 0, 99)))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[3, 3].tolist() == [0, 0, 99]


def png16(rows: np.ndarray, colour: int, extra: bytes = b"") -> bytes:
    """A 16-bit PNG written by hand; Pillow writes only grey ones."""
    height, width = rows.shape[:2]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        extra,
        chunk(b"IDAT", zlib.compress(lines)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


VALUES16 = np.array([[0, 1, 255, 256, 257, 32767, 32768, 65279, 65280, 65535]], np.uint16)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_16_bits_give_their_high_byte(colour: int, channels: int):
    alpha = np.full_like(VALUES16, 65535)
    planes = [VALUES16] * (channels - (colour in (4, 6))) + [alpha] * (colour in (4, 6))
    pixels = np.asarray(decode_image(png16(np.stack(planes, axis=-1), colour)))
    assert pixels[0, :, 0].tolist() == (VALUES16[0] >> 8).tolist()
    assert (pixels == pixels[..., :1]).all()


def test_16_bit_grey_with_a_transparent_value():
    body = b"tRNS" + struct.pack(">H", 257)
    trns = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    pixels = np.asarray(decode_image(png16(VALUES16, 0, trns), background=(9, 9, 9)))
    assert pixels[0, 4].tolist() == [9, 9, 9]
    assert pixels[0, 3].tolist() == [1, 1, 1]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_16_bit_images_of_either_byte_order(mode: str):
    image = Image.new(mode, (2, 2), 0x1234)
    assert np.asarray(decode_image(image))[0, 0].tolist() == [0x12] * 3


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_of_unknown_range_are_refused(mode: str):
    with pytest.raises(DataError, match=f"<image>: got numbers of unknown range .mode {mode}"):
        decode_image(Image.new(mode, (2, 2)))


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "CMYK", "PA", "La", "RGBa", "RGBX"])
def test_any_other_image_of_pillow(mode: str):
    got = decode_image(Image.new(mode, (3, 2)))
    assert (got.mode, got.size) == ("RGB", (3, 2))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "MPO"])
def test_animations_give_their_first_frame(kind: str):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    red, _, blue = np.asarray(decode_image(data))[8, 8].tolist()
    assert red > 240
    assert blue < 15


# EXIF


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured_once(orientation: int, kind: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(40, 24), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    upright = decode_image(data)
    assert np.array_equal(np.asarray(upright), np.asarray(expected))
    assert upright.size == ((24, 40) if orientation > 4 else (40, 24))
    assert np.array_equal(np.asarray(decode_image(upright)), np.asarray(expected))
    assert np.array_equal(to_pixels(Image.open(io.BytesIO(data)), CONFIG), to_pixels(data, CONFIG))


def test_nonsense_orientation_is_none():
    exif = Image.Exif()
    exif[0x0112] = 77
    assert decode_image(encoded(photo(40, 24), "JPEG", exif=exif)).size == (40, 24)


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x011A] = 300.0  # resolution, which Pillow looks for on opening a JPEG
    exif[0x0131] = "made by a camera"
    return exif


def damaged(how: str) -> bytes:
    whole = exif_with(6).tobytes()
    resolution, software = whole.index(b"\x01\x1a\0\x05"), whole.index(b"\x01\x31\0\x02")
    far_away = struct.pack(">I", 2**31)
    return {
        "no header": whole[:6] + b"XX" + whole[8:],
        "cut in the header": whole[:10],
        "cut in the orientation": whole[:24],
        "cut after the orientation": whole[:30],
        "cut in the values": whole[:-20],
        "a value far away": whole[: resolution + 8] + far_away + whole[resolution + 12 :],
        "an endless value": whole[: software + 4] + far_away + whole[software + 8 :],
        "many entries": whole[:14] + b"\xff\xff" + whole[16:],
        "directory far away": whole[:10] + far_away + whole[14:],
        "nothing": b"Exif\0\0",
    }[how]


UNREADABLE = ["no header", "cut in the header", "cut in the orientation", "directory far away"]
READABLE = [
    "cut after the orientation",
    "cut in the values",
    "a value far away",
    "an endless value",
    "many entries",
]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("how", [*READABLE, *UNREADABLE, "nothing"])
def test_damaged_exif_is_passed_over_without_a_warning(how: str, kind: str):
    """Warnings are errors here."""
    image = photo(40, 24)
    data = encoded(image, kind, exif=damaged(how))
    plain = decode_image(encoded(image, kind))
    expected = plain.transpose(Image.Transpose.ROTATE_270) if how in READABLE else plain
    upright = decode_image(data)
    assert np.array_equal(np.asarray(upright), np.asarray(expected))
    with warnings.catch_warnings(action="ignore"):  # the caller's own opening of it
        opened = Image.open(io.BytesIO(data))
    assert np.array_equal(np.asarray(decode_image(opened)), np.asarray(expected))


def test_damaged_exif_prints_nothing_outside_of_tests_either(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(
        encoded(photo(40, 24), "JPEG", exif=damaged("cut in the values"))
    )
    code = "import sys\nfrom twinlens.images.decode import decode_image\ndecode_image(sys.argv[1])"
    command = [sys.executable, "-W", "always", "-c", code, str(tmp_path / "a.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@given(st.data())
def test_exif_of_any_bytes_is_quiet(data: st.DataObject):
    exif = bytearray(exif_with(6).tobytes())
    for place in data.draw(st.lists(st.integers(6, len(exif) - 1), max_size=4)):
        exif[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(6, len(exif)))
    size = decode_image(encoded(Image.new("RGB", (4, 2)), "JPEG", exif=bytes(exif[:cut]))).size
    assert size in ((4, 2), (2, 4))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "form"), [(3, "HH"), (4, "I")])
def test_orientations_of_either_byte_order_and_width(order: str, kind: int, form: str):
    value = struct.pack(f"{order}{form}", *(6, 0)[: len(form)])
    exif = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    exif += struct.pack(f"{order}HHHI", 1, 0x0112, kind, 1) + value + bytes(4)
    for prefix in (b"Exif\0\0", b"Exif\0\0Exif\0\0"):
        assert decode_image(encoded(photo(40, 24), "JPEG", exif=prefix + exif)).size == (24, 40)


def test_orientation_of_a_raw_profile_as_imagemagick_writes_it():
    exif = exif_with(6).tobytes()
    for digits, size in ((exif.hex(), (24, 40)), ("no hexadecimal digits", (40, 24))):
        notes = PngInfo()
        notes.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{digits}\n", zip=True)
        assert decode_image(encoded(photo(40, 24), "PNG", pnginfo=notes)).size == size


@pytest.mark.parametrize("exif", [b"", damaged("no header"), Image.Exif().tobytes()])
def test_xmp_says_the_orientation_where_exif_does_not(exif: bytes):
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    for kind in ("JPEG", "WEBP"):
        upright = decode_image(encoded(photo(40, 24), kind, exif=exif, xmp=xmp))
        assert upright.size == (24, 40)
        assert decode_image(upright).size == (24, 40)


def test_an_orientation_given_in_memory_counts():
    image = photo(40, 24)
    image.getexif()[0x0112] = 6
    assert decode_image(image).size == (24, 40)


# Sources


def test_paths_bytes_images_and_arrays_agree(tmp_path: Path):
    image = photo(50, 40)
    path = tmp_path / "a.png"
    image.save(path)
    expected = to_pixels(image, CONFIG)
    for source in (path, str(path), path.read_bytes(), Image.open(path), np.array(image)):
        assert np.array_equal(to_pixels(source, CONFIG), expected)


def test_the_content_counts_not_the_name(tmp_path: Path):
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(SMALL, "PNG"))
    assert decode_image(path).size == (40, 30)


def test_an_image_given_is_left_alone():
    image = photo(50, 40)
    got = decode_image(image)
    got.thumbnail((8, 8))
    assert image.size == (50, 40)


def test_a_file_is_closed(tmp_path: Path):
    path = tmp_path / "a.png"
    photo(9, 9).save(path)
    kept = [decode_image(path) for _ in range(3)]
    assert [getattr(image, "fp", None) for image in kept] == [None] * 3


def test_grey_arrays():
    grey = noise(20, 10, 1)
    for array in (grey, grey[..., None], np.repeat(grey[..., None], 3, axis=2)):
        assert np.array_equal(np.asarray(decode_image(array))[..., 1], grey)


def test_arrays_that_are_views():
    array = noise(20, 10)[::-1, ::2]
    assert np.array_equal(np.asarray(decode_image(array)), array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), bool),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_shape_or_type(array: Any):
    with pytest.raises(ShapeError, match=r"<array>: got .*expected "):
        decode_image(array)


@pytest.mark.parametrize("source", [None, 3, torch.zeros(3, 4, 4), io.BytesIO(b"x")])
def test_things_that_are_no_images(source: Any):
    with pytest.raises(DataError, match=f"image: got {type(source).__name__}, expected a path"):
        decode_image(source)


# Shapes that are extreme


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (2, 32768), (1, 1)])
def test_thin_images_do_not_grow_to_gigabytes(shape: tuple[int, int]):
    pixels = to_pixels(noise(*shape), PreprocessConfig(image_size=224))
    assert pixels.shape == (224, 224, 3)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    size=st.integers(1, 64),
    resampling=st.sampled_from([Image.Resampling.BICUBIC, Image.Resampling.BILINEAR]),
)
@example(width=1, height=3000, size=64, resampling=Image.Resampling.BICUBIC)
@example(width=2999, height=2, size=64, resampling=Image.Resampling.BICUBIC)
def test_computing_only_the_crop_differs_by_rounding(
    width: int, height: int, size: int, resampling: Image.Resampling
):
    image = Image.fromarray(noise(width, height) // 2 + 64)  # no contrast that overshoots
    whole = np.asarray(_resize_and_crop(image, size, resampling), np.int16)
    part = np.asarray(_resize_and_crop(image, size, resampling, max_pixels=0), np.int16)
    assert np.abs(whole - part).max() <= 2


# Limits, and files that are broken


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def claims(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims a size."""
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    vp8x = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little")
    vp8x += (height - 1).to_bytes(3, "little")
    return {
        "PNG": png_header(width, height) + idat,
        "BMP": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0),
        "GIF": b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02L\x01\0;",
        "GIF frame": b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
        + b"!\xf9\x04\x08\0\0\0\0!\xfe\x02hi\x01x\0,"
        + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02L\x01\0;",
        "WebP": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + vp8x,
        "WebP lossless": b"RIFF" + struct.pack("<I", 17) + b"WEBPVP8L" + struct.pack("<I", 5)
        + b"\x2f" + struct.pack("<I", (width - 1) & 0x3FFF | ((height - 1) & 0x3FFF) << 14),
        "WebP lossy": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8 " + struct.pack("<I", 10)
        + b"\x10\x02\0\x9d\x01\x2a" + struct.pack("<HH", width & 0x3FFF, height & 0x3FFF),
        "JPEG": b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3)
        + b"\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0",
    }[kind]  # fmt: skip


KINDS = ["PNG", "BMP", "GIF", "GIF frame", "WebP", "WebP lossless", "WebP lossy", "JPEG"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_refused_by_its_header(kind: str, tmp_path: Path):
    """Warnings are errors here, so Pillow's own about bombs would show."""
    side = 16_000 if kind.startswith("WebP") else 20_000
    path = tmp_path / "bomb"
    path.write_bytes(claims(kind, side, side))
    expected = f"bomb: got {side:,} x {side:,} pixels, expected at most 100,000,000 in all"
    with pytest.raises(DataError, match=expected):
        decode_image(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_side_beyond_the_limit(kind: str):
    with pytest.raises(
        DataError, match="<bytes>: got 300 x 200 pixels, expected sides of at most 2"
    ):
        decode_image(claims(kind, 300, 200), limits=DecodeLimits(max_side=256))


def test_a_real_image_of_20000_by_20000(tmp_path: Path):
    path = tmp_path / "huge.png"
    Image.new("1", (20_000, 20_000)).save(path, compress_level=9)
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"huge.png: got 20,000 x 20,000 pixels, expected at most"):
        to_pixels(path, CONFIG)


def test_limits_are_inclusive():
    data = encoded(photo(30, 20), "PNG")
    exact = DecodeLimits(max_bytes=len(data), max_pixels=600, max_side=30)
    assert decode_image(data, limits=exact).size == (30, 20)
    with pytest.raises(DataError, match="expected at most 599 in all"):
        decode_image(data, limits=DecodeLimits(max_pixels=599))
    with pytest.raises(DataError, match=f"got {len(data):,} bytes, expected at most 99"):
        decode_image(data, limits=DecodeLimits(max_bytes=99))


def test_limits_hold_for_images_not_loaded_yet():
    image = Image.open(io.BytesIO(encoded(photo(30, 20), "PNG")))
    with pytest.raises(DataError, match="<image>: got 30 x 20 pixels"):
        decode_image(image, limits=DecodeLimits(max_pixels=100))


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "long.png"
    path.write_bytes(bytes(1000))
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"long.png: got 1,000 bytes, expected at most 999"):
        decode_image(path, limits=DecodeLimits(max_bytes=999))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9])
def test_a_file_cut_short_names_itself(kind: str, kept: float, tmp_path: Path):
    data = encoded(photo(64, 48), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(
        DataError, match=rf"{path.name}: got a damaged or cut-off \w+ image"
    ) as told:
        decode_image(path)
    assert "\n" not in str(told.value)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_gives_a_image_or_one_clear_line(data: st.DataObject):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]))
    whole = bytearray(encoded(photo(24, 16), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, min(len(whole) - 1, 400)))
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    limits = DecodeLimits(max_pixels=10**6)
    for damaged in (bytes(whole), bytes(whole[:cut])):
        try:
            assert decode_image(damaged, limits=limits, name="x").mode == "RGB"
        except DataError as error:
            assert str(error).startswith("x: got ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "an empty file"),
        (b"hello world", r"a file that begins with b'hello wo'"),
        (b"%PDF-1.7", "a PDF file, which is not read"),
        (b"<svg xmlns=''/>", "an SVG image, which is not read"),
        (b"II*\0\x08\0\0\0", "a damaged or cut-off TIFF"),
        (b"BM", "a damaged or cut-off BMP"),
        (b"GIF89a", "a damaged or cut-off GIF"),
        (b"\xff\xd8\xff", "a damaged or cut-off JPEG"),
        (b"\x89PNG\r\n\x1a\n", "a damaged or cut-off PNG"),
        (b"RIFF\0\0\0\0WEBP", "a damaged or cut-off WebP"),
    ],
)
def test_files_that_are_no_images(content: bytes, got: str, tmp_path: Path):
    path = tmp_path / "thing.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"thing.png: got {got}.*, expected "):
        decode_image(path)
    with pytest.raises(DataError, match=f"the 3rd: got {got}"):
        decode_image(content, name="the 3rd")


def test_other_formats_of_pillow_are_not_tried():
    tga = encoded(SMALL, "TGA")
    with pytest.raises(DataError, match=r"a file that begins with .*, expected JPEG, PNG, WebP"):
        decode_image(tga)


def test_missing_files_directories_and_pipes(tmp_path: Path):
    with pytest.raises(DataError, match=r"none.png: no such file, expected JPEG"):
        decode_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="got a directory, expected JPEG"):
        decode_image(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        decode_image("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: got no regular file"):
        decode_image(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files(tmp_path: Path):
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(DataError, match=r"secret.png: cannot be read: Permission denied"):
        read_image_file(path)


# Threads


def test_threads_agree_and_leave_pillow_as_it_was():
    files = [encoded(photo(60 + n, 50, seed=n), ("JPEG", "PNG", "WEBP")[n % 3]) for n in range(24)]
    expected = [to_pixels(data, CONFIG) for data in files]
    before = Image.MAX_IMAGE_PIXELS
    start = threading.Barrier(8)

    def work(turn: int) -> bool:
        start.wait()
        order = np.random.default_rng(turn).permutation(len(files))
        return all(np.array_equal(to_pixels(files[n], CONFIG), expected[n]) for n in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_thumbnails_are_the_image_made_smaller(kind: str, orientation: int):
    data = encoded(photo(900, 600), kind, exif=exif_with(orientation))
    small, whole = decode_thumbnail(data, 60), decode_image(data)
    assert small.size == ((40, 60) if orientation == 6 else (60, 40))
    whole.thumbnail((60, 60))
    assert np.abs(np.asarray(small).astype(int) - np.asarray(whole)).mean() < 2
    assert np.array_equal(np.asarray(decode_image(small)), np.asarray(small))


def test_thumbnails_leave_small_and_given_images_as_they_are():
    given = photo(40, 24)
    assert np.array_equal(np.asarray(decode_thumbnail(given, 60)), np.asarray(given))
    assert decode_thumbnail(given, 10).size == (10, 6)
    assert given.size == (40, 24)
    assert decode_thumbnail(np.zeros((900, 2, 3), np.uint8), 10).size == (1, 10)
    with pytest.raises(DataError, match=r"^a: got"):
        decode_thumbnail(b"nothing", 10, name="a")
