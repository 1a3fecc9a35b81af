"""A contact sheet: what it says and shows, alone in one file, also of images that are gone."""

import base64
import html
import io
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import browser
from tests.markup import is_balanced, loads_nothing
from twinlens.search.contact_sheet import SheetResult, SheetSection, contact_sheet

RED, BLUE = (200, 30, 30), (30, 30, 200)


def save(path: Path, size: tuple[int, int] = (90, 60), orientation: int = 1) -> Path:
    """An image whose left half is red, and the other blue."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def result(path: Path, **more: object) -> SheetResult:
    return SheetResult(**{"path": path, "score": 0.25} | more)  # type: ignore[arg-type]


def images_of(page: str) -> list[tuple[str, Image.Image]]:
    """Alternative texts and decoded images, in order."""
    found = re.findall(r'<img [^>]*?src="data:image/webp;base64,([^"]+)" alt="([^"]*)"', page)
    return [
        (html.unescape(alt), Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
        for data, alt in found
    ]


def texts_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]))


def test_a_page_shows_queries_and_their_results(tmp_path: Path):
    query = save(tmp_path / "query.png")
    first, second = save(tmp_path / "a.jpg", (900, 600)), save(tmp_path / "b.png")
    page = contact_sheet(
        "Holiday & more",
        [
            SheetSection(
                text="a <red> kite",
                results=[
                    result(
                        first, score=0.3141, probability=0.873, metadata={"taken": "2021-01-02"}
                    ),
                    result(second, score=-0.02),
                ],
            ),
            SheetSection(image=query, results=[result(first)]),
            SheetSection(text="at night", image=query),
        ],
    )
    assert is_balanced(page)
    assert loads_nothing(page)
    told = " ".join(texts_of(page).split())
    for words in (
        "Holiday & more 3 queries, 3 results.",
        "a <red> kite 2 images a.jpg cosine 0.314 87.3% taken 2021-01-02 b.png cosine -0.020",
        "Images like query.png 1 image a.jpg",
        "at night, and images like query.png Nothing matches.",
    ):
        assert words in told
    assert f'title="{first}"' in page
    assert 'style="width:87.3%"' in page
    assert page.count('class="track"') == 1
    assert re.findall(r'href="#([\w-]+)"', page) == re.findall(r'<section id="([\w-]+)"', page)
    alts, images = zip(*images_of(page), strict=True)
    query_alt = "The image of the query, query.png"
    assert alts == ("a.jpg", "b.png", query_alt, "a.jpg", query_alt)
    assert [image.size for image in images[:2]] == [(240, 160), (90, 60)]


def test_headings_are_of_levels_without_gaps(tmp_path: Path):
    page = contact_sheet("T", [SheetSection(text="q", results=[result(save(tmp_path / "a.png"))])])
    assert re.findall(r"<h(\d)", page) == ["1", "2", "3"]
    assert "<nav" not in page


@pytest.mark.parametrize("orientation", [1, 6])
def test_thumbnails_are_upright(orientation: int, tmp_path: Path):
    path = save(tmp_path / "a.jpg", orientation=orientation)
    [(_, image)] = images_of(contact_sheet("T", [SheetSection(text="q", results=[result(path)])]))
    assert image.size == ((60, 90) if orientation == 6 else (90, 60))
    pixels = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels[5, 5] - RED).max() < 25
    assert np.abs(pixels[-5, -5] - BLUE).max() < 25


def test_transparency_is_on_white(tmp_path: Path):
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(tmp_path / "a.png")
    page = contact_sheet("T", [SheetSection(text="q", results=[result(tmp_path / "a.png")])])
    [(_, image)] = images_of(page)
    assert np.asarray(image.convert("RGB")).min() > 250


def test_images_that_cannot_be_read_have_the_reason_in_their_place(tmp_path: Path):
    whole = save(tmp_path / "a.jpg", (300, 300)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    paths = [tmp_path / name for name in ("gone.jpg", "cut.jpg", "text.jpg")]
    page = contact_sheet(
        "T",
        [SheetSection(text="q", results=list(map(result, paths))), SheetSection(image=paths[0])],
    )
    told = re.findall(r'<div class="frame"><p>(.*?)</p></div>', page)
    assert told[0] == "no such file"
    assert told[1].startswith("got a damaged or cut-off JPEG image")
    assert told[2].startswith("got a file that begins with")
    assert "The image of the query: no such file." in page
    assert is_balanced(page)


def test_names_are_escaped_and_need_not_be_text(tmp_path: Path):
    names = [b"<script>alert(1)<&\"'.png", b"line\nfeed\x07\x1b.png", "صورة.png".encode()]
    if sys.platform == "linux":
        names.append(b"caf\xe9_\xff.png")
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for path in paths:
        save(path)
    paths.append(tmp_path / "\ud800\0.png")  # that no file can have
    query = f"{paths[0].name}\ud800\0"
    results = [result(path, metadata={"\udcff<": "\udcff<"}) for path in paths]
    page = contact_sheet(query, [SheetSection(text=query, image=paths[0], results=results)])
    assert page.encode()
    assert is_balanced(page)
    assert loads_nothing(page)
    assert not re.search("[\0\7\x1b]", page)
    assert "<script" not in page
    told = texts_of(page)
    assert all(name in told for name in ("<script>alert(1)<&\"'.png", "صورة.png", "\ufffd<"))


@pytest.mark.parametrize(
    ("probability", "shown", "width"),
    [
        (0.0, "0.0%", "0.0"),
        (1.0, "100.0%", "100.0"),
        (0.0004, "0.04%", "0.0"),
        (1.5, "100.0%", "100.0"),
        (-1, "0.0%", "0.0"),
    ],
)
def test_probabilities(probability: float, shown: str, width: str, tmp_path: Path):
    found = result(save(tmp_path / "a.png"), probability=probability)
    page = contact_sheet("T", [SheetSection(text="q", results=[found])])
    assert f'style="width:{width}%"></i></span><b>{shown}</b>' in page


def test_numbers_that_are_none_are_not_shown(tmp_path: Path):
    found = result(save(tmp_path / "a.png"), score=math.nan, probability=math.nan)
    page = contact_sheet("T", [SheetSection(text="q", results=[found])])
    assert "nan" not in texts_of(page)
    assert "%" not in texts_of(page)


def test_an_image_of_several_queries_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = save(tmp_path / "a.png")
    calls: list[object] = []

    def count(*given: object, **_: object) -> str:
        calls.append(given)
        return "data:,"

    monkeypatch.setattr("twinlens.search.contact_sheet.image_data_uri", count)
    contact_sheet("T", [SheetSection(text=text, results=[result(path)]) for text in "abc"])
    assert len(calls) == 1


def test_a_sheet_of_nothing():
    page = contact_sheet("", [])
    assert is_balanced(page)
    assert "0 queries, 0 results." in page
    assert "A query without words" in contact_sheet("", [SheetSection(text=" ")])


@browser.NEEDED
def test_nothing_sticks_out_or_is_cut_in_a_browser(tmp_path: Path):
    paths = [save(tmp_path / f"{'long_name_' * n}{n}.png", (40 + 70 * n, 90)) for n in range(9)]
    paths += [save(tmp_path / "thin.png", (2, 300)), tmp_path / "gone.jpg"]
    lines = {"taken": "2021-01-02T03:04:05", "licence": "https://example.org/" + "a" * 90}
    results = [result(path, probability=0.5, metadata=lines) for path in paths]
    sections = [
        SheetSection(text="q" * 200, results=results),
        SheetSection(image=paths[-2], results=results[:1]),
        SheetSection(text="nothing"),
    ]
    found = browser.faults({"sheet": contact_sheet("t" * 90, sections)}, tmp_path)
    assert len(found) == len(browser.WIDTHS)
    assert not any(found.values()), found
