"""What is printed where."""

import json
import os
from pathlib import Path

import pytest

from twinlens.cli.output import log, print_json, print_table, write_text
from twinlens.errors import DataError


def test_json_keeps_words_readable(capsys: pytest.CaptureFixture[str]):
    print_json([{"label": "Löwe"}])
    out = capsys.readouterr().out
    assert json.loads(out) == [{"label": "Löwe"}]
    assert "Löwe" in out


def test_logs_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    log("reading")
    assert tuple(capsys.readouterr()) == ("", "reading\n")


def test_a_piped_table_keeps_long_cells_whole(capsys: pytest.CaptureFixture[str]):
    print_table(("Name", "Size"), [("x" * 90, "1"), ("[b]y[/b]", "20")], title="All")
    title, head, first, second = capsys.readouterr().out.rstrip("\n").split("\n")
    assert title.strip() == "All"
    assert head.split() == ["Name", "Size"]
    assert first.split() == ["x" * 90, "1"]
    assert second.split() == ["[b]y[/b]", "20"]
    assert len(first.rstrip()) == len(second.rstrip())  # numbers end in one column


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path):
    write_text(tmp_path / "a" / "b.json", "Löwe\n")
    assert (tmp_path / "a" / "b.json").read_bytes() == b"L\xc3\xb6we\n"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_a_link_keeps_leading_to_the_file(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "a.json")
    write_text(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real" / "a.json").read_text() == "new"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(tmp_path / "pipe", "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    with pytest.raises(DataError, match=r"^.*: cannot be written: Is a directory$"):
        write_text(tmp_path, "text")
