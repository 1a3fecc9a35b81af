from pathlib import Path

import pytest

from twinlens.curate.icons.clipart import list_files, read_clipart
from twinlens.curate.icons.render import PLAIN_STYLE, render_svg, to_svg, trim_drawing

FILE = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:rdf="r" xmlns:cc="c" {size} id="x"><metadata><rdf:RDF><cc:Work>
<dc:title>{title}</dc:title><dc:creator><cc:Agent><dc:title>{author}</dc:title></cc:Agent></dc:creator>
<dc:subject><rdf:Bag><rdf:li>hash</rdf:li><rdf:li>animal</rdf:li><rdf:li>horse</rdf:li></rdf:Bag>
</dc:subject><license rdf:resource="{licence}"/></cc:Work></rdf:RDF></metadata>
<path d="M20 20h20v10H20z"/></svg>"""


def write(folder: Path, name: str, **values: str) -> None:
    chosen = {
        "title": "Bored_Dog 2",
        "author": "Ann Other",
        "licence": "http://web.resource.org/cc/PublicDomain",
        "size": 'width="210mm" height="297mm"',
    } | values
    path = folder / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE.format(**chosen))


def test_a_drawing_has_its_title_keywords_and_category(tmp_path: Path) -> None:
    write(tmp_path, "animals/dogs/bored_dog_01")
    (found,) = read_clipart(tmp_path)
    assert (found.name, found.title) == ("animals/dogs/bored_dog_01", "bored dog")
    assert (found.category, found.keywords) == ("animals", ("animal", "horse"))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ('width="100" height="50"', (100, 50)),
        ('width="72pt" height="1in"', (96, 96)),
        ('viewBox="10 10 40 30" width="100%"', (40, 30)),
    ],
)
def test_a_drawing_is_cut_to_its_ink_whatever_its_page(
    tmp_path: Path, size: str, box: tuple[float, float]
) -> None:
    write(tmp_path, "animals/dog", size=size)
    (found,) = read_clipart(tmp_path)
    assert (found.drawing.width, found.drawing.height) == pytest.approx(box)
    cut = trim_drawing(found.drawing)
    assert cut.width / cut.height == pytest.approx(2, abs=0.2)
    assert render_svg(to_svg(cut, PLAIN_STYLE, 40)).getpixel((20, 20)) == (0, 0, 0)


def test_what_is_not_free_or_not_a_image_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "animals/dog", licence="http://example.org/mine")
    write(tmp_path, "logos/acme")
    write(tmp_path, "geography/map")
    write(tmp_path, "signs_and_symbols/flags/europe/x")
    write(tmp_path, "animals/unsized", size='width="100%"')
    write(tmp_path, "animals/unnamed", title="42")
    (tmp_path / "animals" / "link.svg").symlink_to(tmp_path / "animals" / "dog.svg")
    assert read_clipart(tmp_path) == []
    assert len(list_files(tmp_path)) == 7


def test_a_collections_name_on_many_files_gives_way_to_the_file_name(tmp_path: Path) -> None:
    for name in ("camel", "zebra", "giraffe", "mole"):
        write(tmp_path, f"animals/contour_{name}_ann_o", title="Animal Collection")
    assert [each.title for each in read_clipart(tmp_path)] == ["camel", "giraffe", "mole", "zebra"]


def test_italian_titles_are_names_in_italian(tmp_path: Path) -> None:
    write(tmp_path, "animals/cavallo_01", title="Cavallo", author="Architetto Francesco")
    (found,) = read_clipart(tmp_path)
    assert (found.title, found.italian_title) == ("horse", "cavallo")


def test_no_package_no_drawings(tmp_path: Path) -> None:
    assert read_clipart(tmp_path / "missing") == []
    assert list_files(tmp_path / "missing") == []
