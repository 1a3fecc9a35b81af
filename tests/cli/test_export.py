"""`twinlens export`: files, a table, and mistakes in one line."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_it_writes_and_reports(run: Run, tiny_directory: Path, tmp_path: Path):
    out = tmp_path / "below" / "out"
    options = ("--format", "torch", "--towers", "image", "--json")
    ended = run("export", tiny_directory, out, *options)
    assert ended.status == 0, ended.err
    answer = json.loads(ended.out)
    [image] = answer["towers"]
    assert image["files"] == ["image.pt2"]
    assert image["size"] == (out / "image.pt2").stat().st_size
    assert image["cosine"] > 0.9999
    assert answer["tokenizer"] is None
    assert sorted(path.name for path in out.iterdir()) == ["image.pt2", "twinlens.json"]


def test_the_table(run: Run, tiny_directory: Path, tmp_path: Path):
    options = ("--format", "torch", "--towers", "text")
    ended = run("export", tiny_directory, tmp_path / "out", *options)
    assert ended.status == 0, ended.err
    head, text = (line.split() for line in ended.out.splitlines())
    assert head == ["File", "Size", "Least", "cosine"]
    assert text[::2] == ["text.pt2", "MB"]
    assert float(text[-1]) == pytest.approx(1, abs=1e-4)
    assert ended.err == ""


def test_what_is_there_is_not_overwritten(run: Run, tiny_directory: Path, tmp_path: Path):
    (tmp_path / "kept.txt").write_text("mine")
    ended = run("export", tiny_directory, tmp_path)
    assert ended.status == 2
    assert "is there already, expected a new or an empty directory" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_precision_that_the_format_has_not_got(run: Run, tiny_directory: Path, tmp_path: Path):
    options = ("--format", "openvino", "--precision", "int8")
    ended = run("export", tiny_directory, tmp_path / "out", *options)
    assert ended.status == 2
    assert ended.err == "error: precision: got 'int8', expected fp32 or fp16 for openvino\n"
    assert not (tmp_path / "out").exists()
