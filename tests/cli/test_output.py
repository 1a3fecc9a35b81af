"""What is printed where."""

import json

import pytest

from twinlens.cli.output import log, print_json, print_table


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
