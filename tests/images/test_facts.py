"""Facts of images without their pixels, of real files in every format and of damaged ones."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from twinlens.errors import DataError
from twinlens.images import codecs, decode
from twinlens.images.codecs import DecodeLimits
from twinlens.images.decode import decode_image
from twinlens.images.facts import ImageFacts, read_facts

ASSETS = Path(__file__).parent / "assets"
BASE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"]
WITH_EXIF = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]
MAKE, MODEL, ORIENTATION, CHANGED, COPYRIGHT = 0x010F, 0x0110, 0x0112, 0x0132, 0x8298
TAKEN, DIGITIZED = 0x9003, 0x9004
RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
CREATIVE = "http://creativecommons.org/ns#"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif_of(tags: dict[int, Any], inner: dict[int, Any] | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif.update(tags)
    if inner:
        exif.get_ifd(0x8769).update(inner)
    return exif


def with_exif(kind: str, tags: dict[int, Any], inner: dict[int, Any]) -> bytes:
    if kind != "TIFF":
        return encoded(BASE, kind, exif=exif_of(tags, inner))
    directory = ImageFileDirectory_v2()  # Pillow leaves out the inner one of EXIF
    for tag, value in (tags | {0x8769: inner}).items():
        directory[tag] = value
    return encoded(BASE, kind, tiffinfo=directory)


def facts_of(tags: dict[int, Any], inner: dict[int, Any] | None = None) -> ImageFacts:
    return read_facts(encoded(BASE, "JPEG", exif=exif_of(tags, inner)))


def xmp_of(body: str) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:xmpRights="{RIGHTS}" xmlns:cc="{CREATIVE}">{body}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>\0\n '
    ).encode()


CAMERA = {MAKE: "Canon", MODEL: "Canon EOS 5D", CHANGED: "2021:02:03 04:05:06"}
MOMENT = {TAKEN: "2019:12:31 23:59:58"}
USAGE = (
    '<xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="de">Frei</rdf:li>'
    '<rdf:li xml:lang="x-default">Free &amp; open</rdf:li></rdf:Alt></xmpRights:UsageTerms>'
)
BY = "https://creativecommons.org/licenses/by/4.0/"
CC = f'<cc:license rdf:resource="{BY}"/>'


# Every format


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_every_format(kind: str, tmp_path: Path):
    (tmp_path / "a").write_bytes(data := encoded(BASE, kind))
    assert read_facts(data) == ImageFacts(width=40, height=24)
    assert read_facts(tmp_path / "a") == read_facts(data)


@pytest.mark.parametrize("name", ["plain.heic", "turned.heic", "alpha.heic"])
def test_heic(name: str):
    pytest.importorskip("pi_heif")
    facts = read_facts(ASSETS / name)
    assert (facts.width, facts.height) == decode_image(ASSETS / name).size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_xl(orientation: int):
    pylibjxl = pytest.importorskip("pylibjxl")
    exif = exif_of({**CAMERA, ORIENTATION: orientation}, MOMENT)
    data = pylibjxl.jpeg_to_jxl(encoded(BASE, "JPEG", exif=exif, quality=95))
    facts = read_facts(data)
    assert (facts.width, facts.height) == decode_image(data).size
    plain = pylibjxl.encode(np.asarray(BASE), lossless=True)
    assert read_facts(plain) == ImageFacts(width=40, height=24)


def test_exif_and_xmp_in_boxes_of_jpeg_xl():
    pylibjxl = pytest.importorskip("pylibjxl")
    plain = pylibjxl.encode(np.asarray(BASE), lossless=True)

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    exif = exif_of(CAMERA, MOMENT).tobytes().removeprefix(b"Exif\0\0")
    data = (
        b"\0\0\0\x0cJXL \r\n\x87\n"
        + box(b"ftyp", b"jxl \0\0\0\0jxl ")
        + box(b"Exif", bytes(4) + exif)
        + box(b"xml ", xmp_of(CC))
        + box(b"jxlc", plain)
    )
    facts = read_facts(data)
    assert (facts.taken, facts.camera) == ("2019-12-31T23:59:58", "Canon EOS 5D")
    assert facts.licence == BY


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", WITH_EXIF)
def test_exif_of_every_format_that_has_it(kind: str, orientation: int):
    tags = {**CAMERA, COPYRIGHT: "A. Person", ORIENTATION: orientation}
    data = with_exif(kind, tags, MOMENT)
    width, height = decode_image(data).size
    assert (width, height) == ((24, 40) if orientation > 4 else (40, 24))
    assert read_facts(data) == ImageFacts(
        width=width,
        height=height,
        taken="2019-12-31T23:59:58",
        camera="Canon EOS 5D",
        licence="A. Person",
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_xmp_of_every_format_that_has_it(kind: str):
    xmp = xmp_of(CC)
    if kind == "PNG":
        notes = PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = encoded(BASE, kind, pnginfo=notes)
    elif kind == "TIFF":
        data = encoded(BASE, kind, tiffinfo={700: xmp})
    elif kind == "GIF":  # the packet lies in the file as it is, then a trailer that ends it
        trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
        whole = encoded(BASE, kind)
        data = whole[:-1] + b"\x21\xff\x0bXMP DataXMP" + xmp + trailer + whole[-1:]
    else:
        data = encoded(BASE, kind, xmp=xmp)
    assert read_facts(data).licence == BY


def isobmff_with(exif: bytes, *, version: int) -> bytes:
    """An AVIF with its EXIF as an item of another version of the boxes, or inside of `meta`."""
    data = encoded(BASE, "AVIF", exif=exif)
    meta = data.index(b"meta") - 4
    size = int.from_bytes(data[meta : meta + 4], "big")
    at = {kind: data.index(kind, meta) - 4 for kind in (b"iinf", b"iloc")}
    assert data[at[b"iloc"] + 8] == 0
    old = data[at[b"iloc"] : at[b"iloc"] + int.from_bytes(data[at[b"iloc"] :][:4], "big")]
    count = int.from_bytes(old[14:16], "big")
    rows = [struct.unpack(">HHHII", old[16 + 14 * i : 30 + 14 * i]) for i in range(count)]
    payload = bytes(4) + exif.removeprefix(b"Exif\0\0")
    body = b""
    exif_number = next(row[0] for row in rows if b"MM\0*" in data[row[3] : row[3] + row[4]])
    row_size = 16 if version == 1 else 18
    grown = row_size * count + (18 if version == 2 else 16) - len(old) + 8 + len(payload)
    for number, _, extents, offset, length in rows:
        is_exif = number == exif_number
        place = 0 if is_exif else offset + grown
        head = struct.pack(">H" if version == 1 else ">I", number)
        body += head + struct.pack(">HHHII", is_exif, 0, extents, place, length)
    head = struct.pack(">B3xBB", version, 0x44, 0) + struct.pack(
        ">H" if version == 1 else ">I", count
    )
    located = struct.pack(">I4s", 8 + len(head + body), b"iloc") + head + body
    inside = struct.pack(">I4s", 8 + len(payload), b"idat") + payload
    changed = data[meta : at[b"iloc"]] + located + data[at[b"iloc"] + len(old) : meta + size]
    changed = struct.pack(">I", size + grown) + changed[4:] + inside
    assert len(changed) == size + grown
    return data[:meta] + changed + data[meta + size :]


@pytest.mark.parametrize("version", [1, 2])
def test_exif_that_lies_inside_the_box_of_metadata(version: int):
    exif = exif_of(CAMERA, MOMENT).tobytes()
    data = isobmff_with(exif, version=version)
    assert decode_image(data).size == (40, 24)
    assert read_facts(data).camera == "Canon EOS 5D"


def test_metadata_of_a_png_behind_its_pixels():
    plain = encoded(BASE, "PNG")

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", sum_)

    exif = exif_of({**CAMERA, ORIENTATION: 6}, MOMENT).tobytes().removeprefix(b"Exif\0\0")
    for flag, xmp in ((b"\0", xmp_of(CC)), (b"\1", zlib.compress(xmp_of(CC)))):
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0" + flag + b"\0\0\0" + xmp)
        data = plain[:-12] + chunk(b"eXIf", exif) + text + plain[-12:]
        facts = read_facts(data)
        assert (facts.width, facts.height) == decode_image(data).size == (24, 40)
        assert (facts.camera, facts.licence) == ("Canon EOS 5D", BY)
    profile = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    for text in (
        chunk(b"tEXt", b"Raw profile type exif\0" + profile),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
    ):
        facts = read_facts(plain[:-12] + text + plain[-12:])
        assert (facts.width, facts.height, facts.camera) == (24, 40, "Canon EOS 5D")
    broken = chunk(b"zTXt", b"Raw profile type exif\0\0no zlib") + chunk(b"iTXt", b"xmp")
    assert read_facts(plain[:-12] + broken + plain[-12:]) == ImageFacts(width=40, height=24)


def test_an_orientation_by_xmp_alone():
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    for kind in ("JPEG", "WEBP"):
        facts = read_facts(encoded(BASE, kind, xmp=xmp))
        assert (facts.width, facts.height) == (24, 40)


def test_pixels_are_not_decoded(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    monkeypatch.setattr("PIL.Image.Image.load", refuse)
    for kind in KINDS:
        whole = encoded_before[kind]
        assert (read_facts(whole).width, read_facts(whole).height) == (40, 24)


encoded_before = {kind: encoded(BASE, kind) for kind in KINDS}


# Values


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("EASTMAN KODAK COMPANY", "KODAK Z740", "KODAK Z740"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SAMSUNG  ", " Galaxy\n", "SAMSUNG Galaxy"),
        ("Canon", "", "Canon"),
        ("", "X100", "X100"),
        ("  ", "\t", None),
    ],
)
def test_cameras(make: str, model: str, camera: str | None):
    assert facts_of({MAKE: make, MODEL: model}).camera == camera


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("2019:12:31 23:59:58", "2019-12-31T23:59:58"),
        ("2019-12-31T23:59:58+02:00", "2019-12-31T23:59:58"),
        ("2019/1/2 3:04:05.678", "2019-01-02T03:04:05"),
        ("2019:01: 2  3:04:05", "2019-01-02T03:04:05"),
        ("0000:00:00 00:00:00", None),
        ("0001:01:01 00:00:00", None),
        ("2019:02:30 10:00:00", None),
        ("2019:01:01 24:00:00", None),
        ("2019:01:01", None),
        ("    :  :     :  :  ", None),
        ("٢٠١٩:01:01 10:00:00", None),
        ("yesterday", None),
    ],
)
def test_dates(value: str, taken: str | None):
    raw = value.encode()
    assert facts_of({CHANGED: raw}).taken == taken


def test_the_first_date_that_makes_sense():
    nonsense, first, second = "0000:00:00 00:00:00", "2001:01:01 01:01:01", "2002:02:02 02:02:02"
    inner = {TAKEN: nonsense, DIGITIZED: first}
    assert facts_of({CHANGED: second}, inner).taken == "2001-01-01T01:01:01"
    assert facts_of({CHANGED: second}, {TAKEN: nonsense}).taken == "2002-02-02T02:02:02"


@pytest.mark.parametrize(
    ("body", "licence"),
    [
        (USAGE, "Free & open"),
        (CC + USAGE, "Free & open"),
        (CC, BY),
        (f"<cc:license>{BY}</cc:license>", BY),
        ("<cc:license><![CDATA[ a\n b ]]></cc:license>", "a b"),
        ("<xmpRights:UsageTerms>plain</xmpRights:UsageTerms>", "plain"),
        ("<xmpRights:UsageTerms><rdf:Alt/></xmpRights:UsageTerms>" + CC, BY),
        ("<cc:license>" + "x" * 5000 + "</cc:license>", "x" * 1000),
        ("<cc:license>", "by EXIF"),
        ("&bomb; license", "by EXIF"),
        ("<license>of another namespace</license>", "by EXIF"),
        ("", "by EXIF"),
    ],
)
def test_licences(body: str, licence: str):
    exif = exif_of({COPYRIGHT: "by EXIF"})
    assert read_facts(encoded(BASE, "JPEG", exif=exif, xmp=xmp_of(body))).licence == licence


def test_a_licence_as_an_attribute_and_under_another_prefix():
    xmp = f'<rdf:RDF xmlns:rdf="r"><a xmlns:y="{CREATIVE}" y:license="{BY}"/></rdf:RDF >'.encode()
    assert read_facts(encoded(BASE, "JPEG", xmp=xmp)).licence == BY


def test_a_document_type_in_xmp_is_not_read():
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + xmp_of(
        "<cc:license>&b;</cc:license>"
    )
    assert read_facts(encoded(BASE, "JPEG", xmp=bomb)).licence is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Zoë".encode(), "Zoë"),
        ("Zoë".encode("latin-1"), "Zoë"),
        (b"a\x1b[31mb\x07\r\nc", "a [31mb c"),
        (b"photographer\0editor\0", "photographer; editor"),
        (b" \0editor\0", "editor"),
        (b"\0\0", None),
        (b"x" * 5000, "x" * 1000),
    ],
)
def test_strings_of_any_bytes(value: bytes, text: str | None):
    assert facts_of({COPYRIGHT: value}).licence == text


def test_a_camera_ends_at_its_first_zero_byte():
    assert facts_of({MAKE: b"Casio\0\xff\xfe\0", MODEL: b"\0"}).camera == "Casio"


# Damage


def damaged(how: str) -> bytes:
    whole = exif_of({**CAMERA, ORIENTATION: 6, COPYRIGHT: "A. Person"}, MOMENT).tobytes()
    make, inner = whole.index(b"\x01\x0f\0\x02"), whole.index(b"\x87\x69\0\x04")
    far_away = struct.pack(">I", 2**32 - 1)
    return {
        "no header": whole[:6] + b"XX" + whole[8:],
        "cut in the header": whole[:10],
        "cut in the entries": whole[:24],
        "cut in the values": whole[:-20],
        "a value far away": whole[: make + 8] + far_away + whole[make + 12 :],
        "an endless value": whole[: make + 4] + far_away + whole[make + 8 :],
        "many entries": whole[:14] + b"\xff\xff" + whole[16:],
        "directory far away": whole[:10] + far_away + whole[14:],
        "its own directory far away": whole[: inner + 8] + far_away + whole[inner + 12 :],
        "a directory in itself": whole[: inner + 8] + whole[10:14] + whole[inner + 12 :],
        "a number for a text": whole[: make + 2] + b"\0\x0c" + whole[make + 4 :],
        "nothing": b"Exif\0\0",
    }[how]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("no header", ""),
        ("cut in the header", ""),
        ("cut in the entries", ""),
        ("cut in the values", "camera licence"),
        ("a value far away", "camera taken licence"),
        ("an endless value", "camera taken licence"),
        ("many entries", "camera taken licence"),
        ("directory far away", ""),
        ("its own directory far away", "camera taken licence"),
        ("a directory in itself", "camera taken licence"),
        ("a number for a text", "camera taken licence"),
        ("nothing", ""),
    ],
)
def test_damaged_exif_gives_what_is_left(how: str, found: str, kind: str):
    """Warnings are errors here."""
    data = encoded(BASE, kind, exif=damaged(how))
    facts = read_facts(data)
    assert (facts.width, facts.height) == decode_image(data).size
    for name in ("camera", "taken", "licence"):
        assert (getattr(facts, name) is not None) >= (name in found), name


@given(st.data())
def test_exif_of_any_bytes_is_quiet(data: st.DataObject):
    exif = bytearray(exif_of({**CAMERA, ORIENTATION: 6}, MOMENT).tobytes())
    for place in data.draw(st.lists(st.integers(6, len(exif) - 1), max_size=4)):
        exif[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(6, len(exif)))
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    facts = read_facts(encoded(Image.new("RGB", (4, 2)), kind, exif=bytes(exif[:cut])))
    assert {facts.width, facts.height} == {2, 4}


WHOLE = {
    kind: encoded(BASE, kind, exif=exif_of({**CAMERA, ORIENTATION: 6}, MOMENT), xmp=xmp_of(USAGE))
    for kind in WITH_EXIF
}


@given(st.data())
def test_damage_gives_facts_or_the_line_of_the_decoder(data: st.DataObject):
    kind = data.draw(st.sampled_from(WITH_EXIF))
    whole = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged_bytes = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    answers = [outcome(read, damaged_bytes) for read in (read_facts, decode_image)]
    if isinstance(answers[0], DataError):
        assert str(answers[0]) == str(answers[1])
    elif isinstance(answers[1], Image.Image):
        assert (answers[0].width, answers[0].height) == answers[1].size


def outcome(read: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return read(data)
    except DataError as error:
        return error


def test_texts_under_the_keys_of_metadata():
    for key in ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"):
        notes = PngInfo()
        notes.add_text(key, "a text of anybody's")
        data = encoded(BASE, "PNG", pnginfo=notes)
        assert read_facts(data) == ImageFacts(width=40, height=24)
        assert np.array_equal(np.asarray(decode_image(data)), np.asarray(BASE))


def test_huge_exif_and_xmp():
    for kind in ("PNG", "WEBP", "TIFF"):
        facts = read_facts(with_exif(kind, {**CAMERA, 0x9999: b"x" * 3_000_000}, MOMENT))
        assert (facts.camera, facts.taken) == ("Canon EOS 5D", "2019-12-31T23:59:58")
    large = xmp_of(CC + "<!--" + "x" * 2**20 + "-->")
    assert read_facts(encoded(BASE, "WEBP", xmp=large)).licence is None
    many = exif_of(dict.fromkeys(range(0xD000, 0xD000 + 2000), b"some bytes") | CAMERA, MOMENT)
    assert read_facts(encoded(BASE, "JPEG", exif=many)).camera == "Canon EOS 5D"


@pytest.mark.parametrize("kind", [b"jxl ", b"heic"])
def test_endless_boxes_end(kind: bytes):
    start = b"\0\0\0\x14ftyp" + kind + bytes(4) + kind
    for box in (bytes(8), struct.pack(">I4s", 1, b"meta"), struct.pack(">I4s", 8, b"free") * 9):
        with pytest.raises(DataError):
            read_facts(start + box)


# What cannot be opened


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"no image at all", b"8BPS", b"\xff\xd8\xff\xe0"])
def test_files_that_cannot_be_opened_are_refused_as_by_the_decoder(data: bytes, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(data)
    for source in (data, tmp_path / "a.jpg", tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(DataError) as expected:
            decode_image(source)
        with pytest.raises(DataError) as told:
            read_facts(source)
        assert str(told.value) == str(expected.value)
    with pytest.raises(DataError, match=r"^other: "):
        read_facts(data, name="other")


def test_limits_hold(monkeypatch: pytest.MonkeyPatch):
    for kind in KINDS:
        data = encoded(BASE, kind)
        assert read_facts(data, limits=DecodeLimits(max_pixels=960, max_side=40)).width == 40
        with pytest.raises(DataError, match="sides of at most 39"):
            read_facts(data, limits=DecodeLimits(max_side=39))
        with pytest.raises(DataError, match="bytes, expected at most"):
            read_facts(data, limits=DecodeLimits(max_bytes=10))


def test_a_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codecs, "missing_decoder", lambda kind: f"pip install {kind}")
    with pytest.raises(DataError, match="which needs pip install AVIF"):
        read_facts(encoded(BASE, "AVIF"))


def test_pixels_may_be_damaged():
    data = encoded(BASE, "JPEG", quality=95)
    with pytest.raises(DataError):
        decode.decode_image(data[: len(data) // 2 + 300])
    assert read_facts(data[: len(data) // 2 + 300]) == ImageFacts(width=40, height=24)
