"""`twinlens classify`."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import twinlens
from twinlens.cli.classify import read_labels
from twinlens.cli.found import find_images
from twinlens.errors import ConfigError, DataError

LABELS = "cat,dog,bicycle,pizza"


@pytest.fixture
def image(image_folders: Path) -> Path:
    return image_folders / "red" / "0.png"


def test_json_is_the_embedder_s_answer(run, image: Path, tiny_directory: Path):
    ending = run("classify", image, "--labels", LABELS, "--model", tiny_directory, "--json")
    [best] = twinlens.load(tiny_directory, decode="exact").classify(image, LABELS.split(","))
    [answer] = json.loads(ending.out)
    assert (ending.status, ending.err) == (0, "")
    assert answer["image"] == str(image)
    assert [one["label"] for one in answer["predictions"]] == [one.label for one in best]
    assert [one["probability"] for one in answer["predictions"]] == pytest.approx(
        [one.probability for one in best], abs=1e-6
    )


def test_top_and_templates_and_a_file_of_labels(
    run, image: Path, tiny_directory: Path, tmp_path: Path
):
    file = tmp_path / "labels.txt"
    file.write_text("a cat, sitting\n\n dog \n", encoding="utf-8")
    options = ["--labels-file", file, "--template", "the {}", "--template", "{}"]
    words = ["classify", image, *options, "--model", tiny_directory, "--json"]
    lens = twinlens.load(tiny_directory, decode="exact")
    [best] = lens.classify(image, ["a cat, sitting", "dog"], ["the {}", "{}"])
    [answer] = json.loads(run(*words, "--top", 1).out)
    assert [one["label"] for one in answer["predictions"]] == [best[0].label]
    assert answer["predictions"][0]["probability"] == pytest.approx(best[0].probability, abs=1e-6)


def test_text_has_a_line_a_label(run, image: Path, tiny_directory: Path):
    ending = run("classify", image, "--labels", "cat,dog", "--model", tiny_directory)
    name, *lines = ending.out.splitlines()
    assert name == str(image)
    shown = [line.split()[:2] for line in lines]
    assert {label for _, label in shown} == {"cat", "dog"}
    percents = [float(percent.rstrip("%")) for percent, _ in shown]
    assert percents == sorted(percents, reverse=True)
    assert sum(percents) == pytest.approx(100, abs=0.2)


def test_directories_and_globs_stand_for_their_images(image_folders: Path, tmp_path: Path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "B.PNG").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jpg").touch()
    inside = [str(tmp_path / "B.PNG"), str(tmp_path / "deep" / "a.jpg")]
    assert find_images([str(tmp_path)]).images == inside
    assert find_images([f"{tmp_path}/**/*"]).images == inside
    assert find_images(["z.png", str(tmp_path)]).images == ["z.png", *inside]
    (tmp_path / "[1].png").touch()
    assert find_images([str(tmp_path / "[1].png")]).images == [str(tmp_path / "[1].png")]


def test_no_images_is_an_error(tmp_path: Path):
    for name in (str(tmp_path), f"{tmp_path}/*.png"):
        with pytest.raises(DataError, match="got no images, expected files"):
            find_images([name])


def test_an_empty_folder_is_named_beside_the_answers(
    run, image: Path, tiny_directory: Path, tmp_path: Path
):
    empty, options = tmp_path / "empty", ["--labels", LABELS, "--model", tiny_directory, "--json"]
    empty.mkdir()
    ending = run("classify", image, empty, tmp_path / "*.png", image, *options)
    assert ending.status == 2
    assert [one["image"] for one in json.loads(ending.out)] == [str(image)] * 2
    named = [line.split(": got no")[0] for line in ending.err.splitlines()]
    assert named == [f"error: {empty}", f"error: {tmp_path / '*.png'}"]


def test_labels_come_from_one_place(tmp_path: Path):
    assert read_labels("a, b,,c,", None) == ["a", " b", "c"]
    assert read_labels(None, None) is None
    with pytest.raises(ConfigError, match="got both"):
        read_labels("a", tmp_path)
    (tmp_path / "latin").write_bytes(b"L\xf6we")
    with pytest.raises(DataError, match="got no UTF-8 text"):
        read_labels(None, tmp_path / "latin")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", ""], "--labels: got '', expected a value (What to choose from"),
        (["--labels", ","], "labels: got none, expected at least one"),
        (["--labels", "word " * 200], "tokens with start and end, expected at most 24"),
        (["--labels", "cat", "--template", "a photo"], "template: got 'a photo'"),
        (["--labels-file", "/nowhere/labels"], "/nowhere/labels: No such file or directory"),
        ([], "labels: the model has no classifier of its own, expected one fine-tuned to classes"),
        ([], "or --labels or --labels-file"),
    ],
)
def test_bad_labels_are_one_line(
    run, image: Path, tiny_directory: Path, words: list[str], message: str
):
    ending = run("classify", image, *words, "--model", tiny_directory)
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert message in ending.err


@pytest.mark.parametrize(
    ("model", "message"),
    [("icon", "did you mean 'icons'?"), ("./nowhere", "./nowhere: no such directory")],
)
def test_bad_models_are_one_line(run, image: Path, model: str, message: str):
    ending = run("classify", image, "--labels", "a", "--model", model)
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert message in ending.err


@pytest.mark.parametrize("device", ["meta", "gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_one_short_line(
    run, image: Path, tiny_directory: Path, device: str
):
    words = ["--labels", "cat", "--model", tiny_directory, "--device", device]
    ending = run("classify", image, *words)
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert f"device: got '{device}', expected" in ending.err
    assert len(ending.err) < 150


def test_bad_images_do_not_cost_the_good_ones(
    run, image: Path, tiny_directory: Path, tmp_path: Path
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:100])
    text = tmp_path / "text.png"
    text.write_text("not an image")
    given = [broken, tmp_path / "missing.png", image, text]
    ending = run("classify", *given, "--labels", "a,b", "--model", tiny_directory, "--json")
    assert ending.status == 2
    assert [one["image"] for one in json.loads(ending.out)] == [str(image)]
    errors = ending.err.splitlines()
    assert len(errors) == 3
    for line, path in zip(errors, [broken, tmp_path / "missing.png", text], strict=True):
        assert line.startswith("error: ")
        assert path.name in line


def test_a_lone_bad_image_answers_nothing(run, tiny_directory: Path):
    ending = run("classify", "/no.png", "--labels", "a", "--model", tiny_directory, "--json")
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)


def png_of_no_pixels(width: int, height: int) -> bytes:
    """A file whose header promises pixels: enough to be refused by."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def test_sizes_from_one_pixel_to_far_too_many(run, tiny_directory: Path, tmp_path: Path):
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(png_of_no_pixels(20_000, 20_000))
    words = ["classify", tmp_path, "--labels", "a,b", "--model", tiny_directory, "--json"]
    ending = run(*words)
    assert [one["image"] for one in json.loads(ending.out)] == [str(tmp_path / "a.png")]
    assert (ending.status, ending.err.count("\n")) == (2, 1)
    assert "b.png: got 20,000 x 20,000 pixels" in ending.err


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two drawings, a file that is none, and two that look like photographs."""
    rng = np.random.default_rng(0)
    for name in ("b.png", "d.png"):
        levels = rng.normal(128, 40, (64, 64, 3)).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(levels).resize((256, 256), Image.Resampling.BICUBIC)
        image.save(tmp_path / name)
    for name in ("a.png", "e.png"):
        image = Image.new("RGB", (128, 128), "white")
        ImageDraw.Draw(image).ellipse((20, 20, 100, 100), fill="red", outline="black", width=6)
        image.save(tmp_path / name)
    (tmp_path / "c.png").write_text("no image")
    return tmp_path


PHOTOGRAPHS = "for photographs take --model openai/ViT-B-32, downloaded once, or another that"


def test_what_does_not_look_like_a_drawing_is_one_line(run, mixed: Path):
    ending = run("classify", mixed, "--labels", "ball,cat", "--top", 1, "--json")
    answered = [Path(one["image"]).name for one in json.loads(ending.out)]
    assert answered == ["a.png", "b.png", "d.png", "e.png"]
    unlike, unreadable = ending.err.splitlines()
    assert unlike.startswith(
        f"2 of 4 images do not look like drawings ({mixed / 'b.png'} and others), "
        f"and icons knows nothing else: {PHOTOGRAPHS}"
    )
    assert "c.png" in unreadable
    assert ending.status == 2


def test_one_image_is_called_by_its_name(run, mixed: Path):
    ending = run("classify", mixed / "b.png", "--labels", "ball,cat")
    assert ending.status == 0
    assert ending.err.startswith(f"{mixed / 'b.png'} does not look like a drawing, and icons")
    assert ending.err.count("\n") == 1
    some = run("classify", mixed / "a.png", mixed / "d.png", "--labels", "ball,cat")
    assert some.err.startswith(f"1 of 2 images does not look like a drawing ({mixed / 'd.png'}),")


def test_drawings_and_other_models_are_told_nothing(run, mixed: Path, tiny_directory: Path):
    assert run("classify", mixed / "a.png", "--labels", "ball,cat").err == ""
    words = ["classify", mixed / "b.png", "--labels", "ball,cat", "--model", tiny_directory]
    assert run(*words).err == ""
