"""`twinlens eval`."""

import json
from pathlib import Path

import pytest
from PIL import Image

import twinlens
from twinlens.data.datasets import open_dataset
from twinlens.eval.zero_shot import measure


@pytest.fixture
def words(tiny_directory: Path, picture_folders: Path) -> list[object]:
    return ["eval", tiny_directory, "--data", picture_folders, "--task", "zero-shot"]


def test_json_is_what_was_measured(run, words: list[object]):
    ending = run(*words, "--template", "a {}", "--json")
    expected = measure(
        twinlens.load(str(words[1])), open_dataset(str(words[3])), templates=["a {}"]
    )
    answer = json.loads(ending.out)
    assert answer == json.loads(
        json.dumps(expected.to_dict(model=str(words[1]), pretrained="by hand"))
    )
    assert answer["samples"] == 12


def test_the_table_has_metrics_intervals_chance_and_classes(run, words: list[object]):
    ending = run(*words)
    assert ending.status == 0
    assert "12 pictures, 4 classes" in ending.out
    [line] = [line for line in ending.out.splitlines() if line.startswith("acc1")]
    assert line.endswith("25.00%  ")
    assert " to " in line
    assert all(label in ending.out for label in ("blue", "green", "red", "yellow"))


def test_out_gets_the_json_and_a_page(run, words: list[object], tmp_path: Path):
    out = tmp_path / "new" / "answer.json"
    ending = run(*words, "--out", out, "--json")
    assert json.loads(out.read_text()) == json.loads(ending.out)
    assert "Zero-shot classification" in out.with_suffix(".html").read_text()
    assert str(out) in ending.err


def test_unreadable_and_ignored_files_are_said(run, words: list[object], tmp_path: Path):
    for number in range(100):
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / str(number % 2) / f"{number}.png")
    (tmp_path / "0" / "broken.png").write_bytes(b"not a picture")
    (tmp_path / "0" / "notes.md").touch()
    ending = run("eval", words[1], "--data", tmp_path, "--json")
    assert ending.status == 0
    [unreadable] = json.loads(ending.out)["unreadable"]
    assert unreadable["image"] == "0/broken.png"
    ignored, listed = ending.err.splitlines()
    assert ignored.startswith("ignored: 1 files")
    assert listed.startswith("unreadable: 0/broken.png: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({3: "/nowhere"}, "/nowhere"),
        ({1: "icon"}, "did you mean 'icons'"),
        ({6: ["--language", "de"]}, "language: got 'de'"),
        ({6: ["--template", "x"]}, "template: got 'x'"),
        ({6: ["--out", "page.html"]}, "--out: got page.html"),
        ({5: "classifier"}, "the model has no classifier of its own"),
        ({5: "classifier", 6: ["--template", "a {}"]}, "--template and --language: got one"),
        ({5: "classifier", 6: ["--language", "de"]}, "--template and --language: got one"),
    ],
)
def test_mistakes_are_one_line(run, words: list[object], changes: dict[int, object], message: str):
    extra = changes.pop(6, [])
    changed = [changes.get(index, word) for index, word in enumerate(words)]
    ending = run(*changed, *extra)  # pyright: ignore[reportGeneralTypeIssues]
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert message in ending.err
