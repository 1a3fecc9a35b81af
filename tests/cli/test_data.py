import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinlens.cli.data import app
from twinlens.errors import UnknownNameError

MANIFEST = {
    "parts": {"train": {"images": 1234, "concepts": 7}},
    "failed": {"set:icon#0": "drawing is empty"},
    "notes": ["No clip art."],
}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    calls: list[tuple[object, ...]] = []

    def build(out: Path, cache: Path, settings: object, **_: object) -> dict[str, object]:
        calls.append((out, cache, settings))
        return MANIFEST

    monkeypatch.setattr("twinlens.curate.icons.build.build_corpus", build)
    return calls


def test_the_counts_are_printed(built: list[tuple[object, ...]], tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["icons", "--out", str(tmp_path), "--set", "size=96"])
    assert run.exit_code == 0
    assert "1,234" in run.stdout
    assert "1 images could not be drawn" in run.stderr
    assert "No clip art." in run.stderr
    ((out, _, settings),) = built
    assert (out, settings.size) == (tmp_path, 96)


def test_json_is_the_manifest(built: list[tuple[object, ...]], tmp_path: Path) -> None:
    run = CliRunner().invoke(
        app, ["icons", "--out", str(tmp_path), "--preset", "small", "--cache", "c", "--json"]
    )
    assert json.loads(run.stdout) == MANIFEST
    ((_, cache, settings),) = built
    assert (cache, settings.size) == (Path("c"), 64)


def test_an_unknown_preset_suggests_close_ones(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["icons", "--out", str(tmp_path), "--preset", "smal"])
    assert isinstance(run.exception, UnknownNameError)
    assert "did you mean 'small'" in str(run.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "Invalid value for '--workers': "),
        (["--workers", "-1"], "Invalid value for '--workers': "),
        (["--set", "variants=-1"], "variants: got -1, expected 0 to 10,000,000"),
    ],
)
def test_numbers_that_make_no_sense_are_one_line(
    run, tmp_path: Path, options: list[str], message: str
) -> None:
    ending = run("data", "icons", "--out", str(tmp_path / "out"), *options)
    assert ending.status == 2
    assert message in ending.err
    assert ending.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
