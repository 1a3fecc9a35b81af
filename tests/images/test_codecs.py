"""Formats beyond the common ones: pixels as Pillow has them, and headers that are not believed."""

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.data.ending_cases import READ
from twinlens.errors import DataError
from twinlens.images import codecs as module
from twinlens.images.codecs import DecodeLimits
from twinlens.images.decode import decode_image

ASSETS = Path(__file__).parent / "assets"
BASE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
GREY16 = np.linspace(0, 65535, 40 * 24).reshape(24, 40).astype(np.uint16)
HIGH = np.repeat((GREY16 >> 8).astype(np.uint8)[..., None], 3, axis=2)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    """The first frame as Pillow decodes it, upright, on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data, name="x"))


def in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.new("LAB", (40, 24), (100, 20, 200))
    if mode == "RGBA":
        image = BASE.convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize(BASE.size))
        return image
    return BASE.convert("P").convert("PA") if mode == "PA" else BASE.convert(mode)


# Pixels


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in READ.items() for name in names]
)
def test_every_ending_with_a_file_of_its_format(kind: str, name: str, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(encoded(BASE.convert("L"), kind))
    assert np.array_equal(np.asarray(decode_image(path)), by_pillow(path.read_bytes()))


def test_the_content_decides_and_not_the_ending(tmp_path: Path):
    path = tmp_path / "a.jpg"
    for kind in ("PNG", "TIFF", "AVIF", "PPM"):
        path.write_bytes(encoded(BASE, kind))
        assert np.array_equal(np.asarray(decode_image(path)), by_pillow(path.read_bytes()))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "LA", "PA"])
def test_tiffs_of_every_mode(mode: str, compression: str | None):
    data = encoded(in_mode(mode), "TIFF", compression=compression)
    assert np.array_equal(pixels(data), by_pillow(data))


@pytest.mark.parametrize(
    ("mode", "compression"), [("1", "group3"), ("1", "group4"), ("RGB", "jpeg"), ("L", "jpeg")]
)
def test_tiffs_of_other_compressions(mode: str, compression: str):
    data = encoded(in_mode(mode), "TIFF", compression=compression)
    assert np.array_equal(pixels(data), by_pillow(data))


def test_a_big_tiff_and_the_first_of_several_pages():
    for options in ({"big_tiff": True}, {"save_all": True, "append_images": [BASE.rotate(90)]}):
        assert np.array_equal(pixels(encoded(BASE, "TIFF", **options)), np.asarray(BASE))


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_honoured_once(orientation: int, kind: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(BASE, kind, exif=exif)
    assert np.array_equal(pixels(data), by_pillow(data))
    upright = decode_image(data)
    assert upright.size == ((24, 40) if orientation > 4 else (40, 24))
    assert np.array_equal(np.asarray(decode_image(upright)), np.asarray(upright))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_avif_of_every_mode(mode: str):
    data = encoded(in_mode(mode), "AVIF")
    assert np.array_equal(pixels(data), by_pillow(data))


def plain_tiff(
    rows: np.ndarray,
    order: str = "<",
    photometric: int = 1,
    bits: int = 16,
    **more: tuple[int, int],
) -> bytes:
    """A grey TIFF without compression, written by hand; `more` are tags with type and value."""
    height, width = rows.shape
    body = rows.astype(f"{order}u{rows.dtype.itemsize}").tobytes()
    if bits == 12:
        text = "".join(f"{value:012b}" for value in rows.ravel())
        body = int(text, 2).to_bytes(len(text) // 8, "big")
    tags = {256: (4, width), 257: (4, height), 258: (3, bits), 259: (3, 1), 262: (3, photometric)}
    tags |= {277: (3, 1), 278: (4, height), 279: (4, len(body))}
    tags |= {int(tag.removeprefix("tag")): entry for tag, entry in more.items()}
    tags[273] = more.get("tag273", (4, 8 + 2 + 12 * len(tags | {273: 0}) + 4))
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value))
        for tag, (kind, value) in sorted(tags.items())
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + bytes(4) + body


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_gives_its_high_byte_also_where_white_is_zero(order: str):
    assert np.array_equal(pixels(plain_tiff(GREY16, order)), HIGH)
    assert np.array_equal(pixels(plain_tiff(65535 - GREY16, order, photometric=0)), HIGH)


@pytest.mark.parametrize("order", ["<", ">"])
def test_8_bit_grey_where_white_is_zero(order: str):
    rows = HIGH[..., 0].copy()
    assert np.array_equal(pixels(plain_tiff(255 - rows, order, photometric=0, bits=8)), HIGH)


def test_12_bit_grey_gives_its_highest_8_bits():
    assert np.array_equal(pixels(plain_tiff(GREY16 >> 4, bits=12)), HIGH)
    inverted = plain_tiff(4095 - (GREY16 >> 4), bits=12, photometric=0)
    assert np.array_equal(pixels(inverted), HIGH)


def test_16_bit_grey_with_compression():
    data = encoded(Image.fromarray(GREY16), "TIFF", compression="tiff_lzw")
    assert np.array_equal(pixels(data), HIGH)


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_numbers_of_unknown_range_are_refused(kind: str):
    data = encoded(Image.fromarray(GREY16.astype(kind)), "TIFF")
    with pytest.raises(DataError, match="x: got numbers of unknown range"):
        pixels(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P1 3 1 101", [[0] * 3, [255] * 3, [0] * 3]),
        (b"P2\n3 1 # a word\n15\n0 5 15\n", [[0] * 3, [85] * 3, [255] * 3]),
        (b"P3\n1 1\n255\n1 2 3", [[1, 2, 3]]),
        (b"P4\n3 1\n\xa0", [[0] * 3, [255] * 3, [0] * 3]),
        (b"P5\n2 1\n255\n\x07\xff", [[7] * 3, [255] * 3]),
        (b"P5\n2 1\n65535\n\x12\x34\xff\xff", [[0x12] * 3, [255] * 3]),
        (b"P5\n2 1\n1023\n\x02\x00\x03\xff", [[128] * 3, [255] * 3]),
        (b"P6\r\n1 1\r\n255\n\x01\x02\x03", [[1, 2, 3]]),
    ],
)
def test_pnm_of_every_kind(data: bytes, expected: list[list[int]]):
    assert pixels(data)[0].tolist() == expected


# Optional decoders


def slopes(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 6, y * 10, np.full_like(x, 60)], -1).astype(np.uint8)


def test_heic_is_decoded_and_turned_once():
    pytest.importorskip("pi_heif")
    plain = pixels((ASSETS / "plain.heic").read_bytes()).astype(int)
    assert plain.shape == (24, 40, 3)
    assert np.abs(plain - slopes(40, 24)).mean() < 3
    turned = pixels((ASSETS / "turned.heic").read_bytes()).astype(int)
    assert turned.shape == (40, 24, 3)
    assert np.abs(turned - np.rot90(slopes(40, 24), -1)).mean() < 3


def test_heic_with_transparency_is_laid_on_the_background():
    pytest.importorskip("pi_heif")
    image = decode_image(ASSETS / "alpha.heic", background=(1, 2, 3))
    assert (np.asarray(image)[:, :18] == (1, 2, 3)).all()
    assert np.abs(np.asarray(image)[:, 22:].astype(int) - slopes(40, 24)[:, 22:]).mean() < 3


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_xl_is_decoded(channels: int):
    pylibjxl = pytest.importorskip("pylibjxl")
    array = np.random.default_rng(1).integers(0, 256, (24, 40, channels), dtype=np.uint8)
    data = pylibjxl.encode(array, lossless=True)
    image = Image.fromarray(array if channels > 1 else array[..., 0])
    assert np.array_equal(pixels(data), np.asarray(decode_image(image)))


def test_jpeg_xl_is_turned_once():
    pylibjxl = pytest.importorskip("pylibjxl")
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg = encoded(BASE, "JPEG", exif=exif, quality=95)
    got = pixels(pylibjxl.jpeg_to_jxl(jpeg)).astype(int)
    assert got.shape == (40, 24, 3)
    assert np.abs(got - by_pillow(jpeg)).mean() < 2


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("HEIC", (ASSETS / "plain.heic").read_bytes()),
        ("JPEG XL", b"\xff\x0a\0\0"),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ],
)
def test_a_missing_decoder_is_named_with_its_pip_line(
    kind: str, start: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "missing_decoder", lambda _: "pip install 'twinlens[formats]'")
    told = f"^x: got an? {kind} image, which needs pip install 'twinlens\\[formats\\]'$"
    with pytest.raises(DataError, match=told):
        pixels(start)


# Whole files that are not read


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"8BPS\0\1", "a Photoshop image"),
        (b"\x76\x2f\x31\x01", "an OpenEXR image"),
        (b"#?RADIANCE\n", "a Radiance HDR image"),
        (b"\0\0\x01\0\x01\0", "an icon"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG image"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x --><svg/>", "an SVG image"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera raw image"),
        (b"%PDF-1.7", "a PDF file"),
    ],
)
def test_known_formats_are_named(data: bytes, told: str):
    with pytest.raises(DataError, match=f"^x: got {told}, which is not read, expected JPEG"):
        pixels(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (plain_tiff(GREY16, tag50706=(4, 1)), "a camera raw image"),
        (plain_tiff(GREY16, photometric=32803), "a camera raw image"),
        (plain_tiff(GREY16, tag254=(4, 1)), "a TIFF that begins with a reduced copy"),
    ],
)
def test_camera_raw_is_not_taken_for_its_preview(data: bytes, told: str):
    with pytest.raises(DataError, match=f"^x: got {told}.*, which is not read"):
        pixels(data)


def test_a_12_bit_jpeg_is_not_called_damaged():
    path = ASSETS / "twelve.jpg"
    told = r"twelve.jpg: got a JPEG image of 12 bits a sample, .*, expected 8$"
    with pytest.raises(DataError, match=told):
        decode_image(path)
    after_metadata = path.read_bytes()[:2] + b"\xff\xe1\0\x08Exif\0\0" + path.read_bytes()[2:]
    with pytest.raises(DataError, match="12 bits a sample"):
        pixels(after_metadata)


def test_other_kinds_of_known_formats_are_not_called_damaged():
    unknown = plain_tiff(GREY16, tag259=(3, 60000))
    with pytest.raises(DataError, match="a TIFF image of compression 60000, which"):
        pixels(unknown)
    bmp = bytearray(encoded(BASE, "BMP"))
    bmp[28] = 7  # bits a pixel
    with pytest.raises(DataError, match="a BMP image of a kind that is not supported"):
        pixels(bytes(bmp))


# Headers


def claims(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims a size."""
    if kind.startswith("TIFF"):
        small = np.zeros((1, 1), np.uint8)
        sides = {"tag256": (4, width), "tag257": (4, height)}
        if kind == "TIFF tile":
            sides = {
                "tag322": (4, width),
                "tag323": (4, height),
                "tag324": (4, 8),
                "tag325": (4, 1),
            }
        compressed = {"tag259": (3, 5)} if kind == "TIFF compressed" else {}
        return plain_tiff(small, bits=8, **sides, **compressed)
    if kind == "PNM":
        return b"P6\n%d %d\n255\n" % (width, height)
    data = encoded(BASE, "AVIF") if kind == "AVIF" else (ASSETS / "plain.heic").read_bytes()
    sides = struct.pack(">II", width, height)
    return re.sub(rb"(\x14ispe\0{4}).{8}", lambda found: found[1] + sides, data, flags=re.DOTALL)


@pytest.mark.parametrize("kind", ["TIFF", "TIFF compressed", "TIFF tile", "PNM", "AVIF", "HEIC"])
def test_a_bomb_is_refused_by_its_header(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "missing_decoder", lambda _: None)  # no decoder sees it
    told = "got 20,000 x 20,000 pixels, expected at most 100,000,000 in all"
    with pytest.raises(DataError, match=f"^x.*: {told}"):
        decode_image(claims(kind, 20_000, 20_000), name="x")


def test_a_jpeg_xl_bomb_is_refused_by_its_header():
    pytest.importorskip("pylibjxl")
    bits = "0" + "11" + f"{19_999:030b}"[::-1] + "000" + "11" + f"{19_999:030b}"[::-1] + "1"
    bits = bits.ljust(160, "0")
    body = bytes(int(bits[place : place + 8][::-1], 2) for place in range(0, len(bits), 8))
    with pytest.raises(DataError, match=r"^x: got 20,000 x 20,000 pixels, expected at most"):
        pixels(b"\xff\x0a" + body)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"tag273": (4, 10**9)}, "damaged or cut-off TIFF"),
        ({"tag322": (4, 0), "tag323": (4, 16)}, "got 0 x 16 pixels"),
    ],
)
def test_tiff_tags_that_make_no_sense(tags: dict[str, tuple[int, int]], told: str):
    with pytest.raises(DataError, match=f"^x.*{told}"):
        pixels(plain_tiff(GREY16, **tags))


def test_values_larger_than_the_file_are_not_read():
    data = bytearray(plain_tiff(GREY16))
    place = data.index(struct.pack("<HHI", 273, 4, 1))
    data[place + 4 : place + 8] = struct.pack("<I", 2**30)
    with pytest.raises(DataError, match=r"larger than the file \(tag 273\)"):
        pixels(bytes(data))


def test_damaged_metadata_costs_nothing():
    """What Pillow would warn of, and warnings are errors here."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "made by a camera"
    tiff = bytearray(encoded(BASE, "TIFF", exif=exif))
    place = tiff.index(struct.pack("<HH", 0x0131, 2))
    tiff[place + 4 : place + 8] = struct.pack("<I", 2**31)
    assert decode_image(bytes(tiff)).size == (24, 40)
    avif = encoded(BASE, "AVIF", exif=exif)
    assert decode_image(avif.replace(b"made by a camera", b"\xff" * 16)).size == (24, 40)
    whole = exif.tobytes()[6:]
    assert decode_image(avif.replace(whole[:4], b"XXXX")).size == (24, 40)


def test_large_tiffs_within_the_limits_do_not_warn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for compression in (None, "tiff_lzw"):
        assert decode_image(encoded(BASE, "TIFF", compression=compression)).size == (40, 24)


FUZZED = ["TIFF", "lzw", "BigTIFF", "PPM", "AVIF"]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_gives_an_image_or_one_clear_line(data: st.DataObject):
    kind = data.draw(st.sampled_from(FUZZED))
    options = {"lzw": {"compression": "tiff_lzw"}, "BigTIFF": {"big_tiff": True}}.get(kind, {})
    image = BASE.resize((24, 16))
    whole = bytearray(encoded(image, kind if kind in ("PPM", "AVIF") else "TIFF", **options))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:cut])):
        try:
            got = decode_image(damaged, limits=DecodeLimits(max_pixels=10**6), name="x")
            assert got.mode == "RGB"
        except DataError as error:
            assert str(error).startswith(("x: got ", "x: a tile: got "))  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
