"""`twinlens classify` of directories of every kind of file, and of labels given again."""

import json
from pathlib import Path

import pytest
from PIL import Image

LABELS = "cat,dog,bicycle,pizza"
ASSETS = Path(__file__).parents[1] / "images" / "assets"


@pytest.fixture
def image(image_folders: Path) -> Path:
    return image_folders / "red" / "0.png"


def test_every_image_of_a_directory_is_answered_or_named(run, tiny_directory: Path, tmp_path: Path):
    swatch = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    kinds = {"a.jpe": "JPEG", "b.jfif": "JPEG", "c.JPG": "JPEG", "d.TIF": "TIFF", "e.tiff": "TIFF"}
    kinds |= {"f.avif": "AVIF", "g.ppm": "PPM"}
    for name, kind in kinds.items():
        swatch.save(tmp_path / name, kind)
    (tmp_path / "h.jpg").write_bytes((ASSETS / "twelve.jpg").read_bytes())
    ending = run("classify", tmp_path, "--labels", LABELS, "--model", tiny_directory, "--json")
    assert [Path(one["image"]).name for one in json.loads(ending.out)] == list(kinds)
    assert ending.status == 2
    assert "h.jpg: got a JPEG image of 12 bits a sample" in ending.err
    assert "damaged" not in ending.err


def test_images_of_formats_that_are_not_read_are_named(
    run, image: Path, tiny_directory: Path, tmp_path: Path
):
    names = ["a.png", "b.svg", "c.NEF", "notes.txt", "._a.png", "__MACOSX/a.png", ".DS_Store"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(image.read_bytes())
    words = ["--labels", LABELS, "--model", tiny_directory, "--json"]
    ending = run("classify", tmp_path, *words)
    assert ending.status == 2
    assert [one["image"] for one in json.loads(ending.out)] == [str(tmp_path / "a.png")]
    assert ending.err.splitlines() == [
        f"error: {tmp_path}/b.svg: SVG image (.svg), which is not read",
        f"error: {tmp_path}/c.NEF: camera raw image (.nef), which is not read",
        f"passed over: 1 x file that is no image: {tmp_path}/notes.txt",
    ]
    (tmp_path / "b.svg").unlink()
    (tmp_path / "c.NEF").unlink()
    assert run("classify", tmp_path, *words).status == 0


def test_only_so_many_unreadable_images_are_named(
    run, image: Path, tiny_directory: Path, tmp_path: Path
):
    (tmp_path / "a.png").write_bytes(image.read_bytes())
    for number in range(25):
        (tmp_path / f"{number:02}.heic.psd").touch()
    ending = run("classify", tmp_path, "--labels", LABELS, "--model", tiny_directory)
    lines = ending.err.splitlines()
    assert len(lines) == 21
    assert lines[0] == f"error: {tmp_path}/00.heic.psd: Photoshop image (.psd), which is not read"
    assert lines[-1] == "error: and 5 other images of formats that cannot be read"


def test_a_label_given_again_is_one_and_said(run, image: Path, tiny_directory: Path):
    model = ["--model", tiny_directory, "--json"]
    once = run("classify", image, "--labels", "cat,dog", *model)
    again = run("classify", image, "--labels", "cat,dog,cat,Cat", *model)
    assert (again.status, again.out) == (0, once.out)
    told = "note: labels: got 'cat', 'Cat' beside 'cat', the same for this model: one label\n"
    assert again.err == told


def test_an_empty_folder_costs_only_itself(run, image: Path, tiny_directory: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.nef").touch()
    words = [tmp_path / "empty", image, tmp_path / "raw", "--labels", LABELS, "--json"]
    ending = run("classify", *words, "--model", tiny_directory)
    assert ending.status == 2
    assert [one["image"] for one in json.loads(ending.out)] == [str(image)]
    empty, raw = ending.err.splitlines()
    assert empty.startswith(f"error: {tmp_path}/empty: got no images, expected files that end in")
    assert "raw: got no images that can be read (1 x camera raw image (.nef), which" in raw
