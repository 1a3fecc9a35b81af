"""What a run says of the data that it left out: in its log, its file, its page, and by --strict."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.train.runs import squares, tiny_recipe, write_squares
from twinlens.data.datasets import open_dataset
from twinlens.errors import DataError
from twinlens.train.trainer import fit

SHORT = {"steps": 6, "checkpoint_every": 2, "eval_every": 6, "max_bad_fraction": 0.5}


def left_out(out: Path) -> dict[str, dict[str, int]]:
    content = json.loads((out / "left-out.json").read_text())
    return {
        part: {reason: one["count"] for reason, one in reasons.items()}
        for part, reasons in content.items()
    }


def odd_squares(root: Path) -> Path:
    """24 squares of which three have no caption, one is damaged and one has odd metadata."""
    write_squares(root)
    for number in (0, 9, 17):
        (root / f"{number:02d}.txt").unlink()
    (root / "05.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (root / "06.json").write_text('{"concept": [1], "captions": {"en": "a square"}}')
    (root / "lonely.txt").write_text("no image")
    (root / "vector.svg").write_text("<svg/>")
    (root / "link.png").symlink_to(root / "nowhere.png")
    return root


def test_a_run_reports_what_it_left_out(tmp_path: Path):
    data = open_dataset(odd_squares(tmp_path / "odd"))
    out = tmp_path / "run"
    fit(tiny_recipe("vit", **SHORT), data, out)
    found = left_out(out)
    assert found["data set"] == {
        "image without a caption": 3,
        "caption without an image": 1,
        "SVG image (.svg), which is not read": 1,
        "link that leads nowhere new": 1,
    }
    training = found["training"]  # 48 pairs are two epochs: each bad sample is met twice
    assert training["image that cannot be decoded"] >= 2
    assert training["image without a caption"] >= 6
    assert training["metadata 'concept' of another kind"] == 1  # of a sample once
    assert training["metadata 'captions' of another kind"] == 1
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    logged = lines[-1]["left_out"]
    assert {reason: one["count"] for reason, one in logged.items()} == training
    assert "05.png" in logged["image that cannot be decoded"]["examples"][0]
    listed = (out / "bad-samples-00000.jsonl").read_text().splitlines()
    assert {json.loads(line)["kind"] for line in listed} == {"image that cannot be decoded"}
    page = (out / "train.html").read_text()
    for reason in (*found["data set"], "image that cannot be decoded"):
        assert reason.replace("'", "&#x27;") in page


def test_counts_go_on_where_a_run_is_resumed(tmp_path: Path):
    data = open_dataset(odd_squares(tmp_path / "odd"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    recipe = tiny_recipe("vit", **SHORT)
    fit(recipe, data, whole)
    fit(recipe, data, cut)
    for newest in (cut / "checkpoints" / "step-00000004", cut / "checkpoints" / "step-00000006"):
        if newest.exists() and newest.name != "step-00000004":
            for file in newest.iterdir():
                file.unlink()
            newest.rmdir()
    fit(recipe, data, cut, resume=True)
    assert left_out(cut) == left_out(whole)


def test_many_images_without_captions_end_nothing(tmp_path: Path):
    root = write_squares(tmp_path / "web")
    for path in sorted(root.glob("*.txt"))[2:]:
        path.unlink()
    out = tmp_path / "run"
    fit(tiny_recipe("vit", steps=2, checkpoint_every=2), open_dataset(root), out)
    assert left_out(out)["data set"] == {"image without a caption": 22}
    assert not (out / "bad-samples-00000.jsonl").exists()  # no fault of the data


def test_no_caption_at_all_is_said_before_anything_is_written(tmp_path: Path):
    root = write_squares(tmp_path / "web")
    for path in root.glob("*.txt"):
        path.unlink()
    with pytest.raises(DataError, match="got no caption for any of 24 images"):
        fit(tiny_recipe("vit"), open_dataset(root), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_images_of_a_table_are_counted_and_end_nothing(tmp_path: Path):
    root = write_squares(tmp_path / "squares")
    rows = [f"{path.name},{path.stem} is a square" for path in sorted(root.glob("*.png"))]
    table = root / "pairs.csv"
    table.write_text("\n".join(["image,text", "gone1.png,a", *rows, "gone2.png,b", ""]))
    out = tmp_path / "run"
    data = open_dataset(table)
    assert len(data.samples) == 24
    fit(tiny_recipe("vit", steps=2, checkpoint_every=2), data, out)
    assert left_out(out)["data set"] == {"image file that is missing": 2}
    content = json.loads((out / "left-out.json").read_text())
    assert "gone2.png" in content["data set"]["image file that is missing"]["examples"][1]


def test_strict_refuses_what_is_left_out(tmp_path: Path):
    data = open_dataset(odd_squares(tmp_path / "odd"))
    with pytest.raises(DataError, match=r"expected none with --strict: .*3 x image without"):
        fit(tiny_recipe("vit", **SHORT), data, tmp_path / "run", strict=True)
    assert not (tmp_path / "run").exists()


def test_strict_ends_at_the_first_sample_that_cannot_be_used(tmp_path: Path):
    root = write_squares(tmp_path / "squares")
    (root / "05.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match=r"expected none with --strict; .*05\.png"):
        fit(tiny_recipe("vit", **SHORT), open_dataset(root), tmp_path / "run", strict=True)


def test_strict_takes_data_of_which_nothing_is_left_out(tmp_path: Path):
    data = squares(tmp_path / "squares")
    fit(tiny_recipe("vit", steps=2), data, tmp_path / "run", strict=True)
    assert left_out(tmp_path / "run") == {"data set": {}, "training": {}}


def test_labels_that_cannot_be_used_cost_contrastive_training_nothing(tmp_path: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number in range(8):
            members = {
                "png": buffer.getvalue(),
                "txt": f"the {number}th square".encode(),
                "cls": b"17" if number % 2 else b"no number",
                "json": b'{"label": 99, "labels": [0.5]}',
            }
            for ext, data in members.items():
                info = tarfile.TarInfo(f"{number}.{ext}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    data = open_dataset(tmp_path)
    out = tmp_path / "run"
    recipe = tiny_recipe("vit", steps=2, checkpoint_every=2, eval_every=2)
    fit(recipe, data, out)
    assert left_out(out)["data set"] == {}
    assert not (out / "bad-samples-00000.jsonl").exists()
    with pytest.raises(DataError, match="got the class '99', expected a number from 0 to 1"):
        _ = data.classnames  # who needs them is told
