"""`twinlens models`."""

import json
from pathlib import Path

import pytest

from twinlens import hub


@pytest.fixture
def one_model(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = [hub.KnownModel(name="tiny", where="cached", path=tiny_directory)]
    monkeypatch.setattr(hub, "known_models", lambda: found)
    return tiny_directory


def test_json_says_what_a_model_is(run, one_model: Path):
    [answer] = json.loads(run("models", "--json").out)
    size = sum(path.stat().st_size for path in one_model.iterdir())
    assert answer == {
        "name": "tiny",
        "where": "cached",
        "path": str(one_model),
        "size_bytes": size,
        "licence": "CC0-1.0",
        "image_size": 32,
        "embed_dim": 16,
        "metrics": {},
    }


def test_the_table_shows_what_was_measured(
    run, tiny_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = (tiny_directory / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    (tmp_path / "metrics.json").write_text('{"unseen style acc1": 0.551, "note": "x"}')
    found = [hub.KnownModel(name="measured", where="embedded", path=tmp_path)]
    monkeypatch.setattr(hub, "known_models", lambda: found)
    out = run("models").out
    for words in ("measured", "embedded", "CC0-1.0", "32 px", "unseen style acc1 55.1%"):
        assert words in out


def test_no_model_is_said_beside_the_answer(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "known_models", list)
    assert run("models", "--json").out == "[]\n"
    ending = run("models")
    assert (ending.status, ending.out) == (0, "")
    assert "no models" in ending.err
