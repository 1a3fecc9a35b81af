"""`twinlens bench`: tables, JSON, a page, and mistakes in one line."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.markup import is_balanced
from tests.tiny import CLIP_VOCABULARY, tiny_config
from twinlens.benchmark import precision_costs, synthetic_inputs
from twinlens.benchmark.interference import Disturbance
from twinlens.inference.compiled_cache import default_compiled_dir, list_compiled

QUIET = Disturbance(others=0.0, spread=0.02, reasons=())
BUSY = Disturbance(others=1.3, spread=0.4, reasons=("other work", "repeats differed"))
QUICK = ("--device", "cpu", "--precision", "fp32", "--batch", "2,1", "--seconds", "1e-6")


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_costs, "peak_memory_in_subprocess", lambda *asked: 2.5e8)
    monkeypatch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *seen: QUIET)


def test_the_tables_the_json_and_the_page(run: Run, tiny_directory: Path, tmp_path: Path):
    out, html = tmp_path / "below" / "speed.json", tmp_path / "speed.html"
    files = ("--out", out, "--html", html, "--price-per-hour", "2")
    ended = run("bench", tiny_directory, *QUICK, *files, "--compare", "transformers")
    assert ended.status == 0, ended.err
    assert "Images/s" in ended.out
    assert "Texts/s" in ended.out
    assert "Ours by theirs" in ended.out
    assert "0.25 GB" in ended.out
    assert "JPEG decoding, exact" in ended.out
    assert "recommended for texts: fp32, batches of" in ended.out
    assert "a million" in ended.out
    assert "random weights" not in ended.out
    answer = json.loads(out.read_text())
    assert answer["asked"]["batches"] == [1, 2]
    ours = [one for one in answer["rates"] if one["library"] == "twinlens"]
    theirs = [one for one in answer["rates"] if one["library"].startswith("transformers ")]
    assert len(ours) == len(theirs) == 4
    assert all(one["ratio"] > 0 for one in theirs)
    assert is_balanced(html.read_text())
    assert ended.err.splitlines()[-2:] == [f"wrote {out}", f"wrote {html}"]


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        ((), "openvino"),
        (("--engine", "openvino"), "openvino"),
        (("--engine", "torch"), "torch"),
        (("--precision", "fp32,int8-weights"), "torch"),
    ],
)
def test_the_engine_is_chosen_and_named(
    run: Run, tiny_directory: Path, tmp_path: Path, words: tuple[str, ...], engine: str
):
    out, html = tmp_path / "speed.json", tmp_path / "speed.html"
    ended = run("bench", tiny_directory, *QUICK, *words, "--out", out, "--html", html)
    assert ended.status == 0, ended.err
    answer = json.loads(out.read_text())
    assert answer["engine"] == engine
    version = answer["machine"][engine]
    assert f", {engine} {version} on cpu: " in ended.out.splitlines()[0]
    assert f"in the {engine} engine" in html.read_text()


def test_a_disturbed_machine_is_told_everywhere(
    run: Run, monkeypatch: pytest.MonkeyPatch, tiny_directory: Path, tmp_path: Path
):
    monkeypatch.setattr("twinlens.benchmark.speed._measure_disturbance", lambda *seen: BUSY)
    out, html = tmp_path / "speed.json", tmp_path / "speed.html"
    words = ("--out", out, "--html", html, "--price-per-hour", "2")
    ended = run("bench", tiny_directory, *QUICK, *words)
    assert ended.status == 0, ended.err
    assert "recommended: nothing, the machine was disturbed" in ended.out
    assert "a million" not in ended.out
    warned = [line for line in ended.err.splitlines() if line.startswith("warning: ")]
    assert [line.rsplit(": ", 1)[1] for line in warned] == list(BUSY.reasons)
    answer = json.loads(out.read_text())
    assert (answer["disturbed"], answer["recommended"]) == (True, [])
    assert "The machine was disturbed" in html.read_text()
    assert "$2" in html.read_text()
    assert "million" not in html.read_text()


def test_both_files_in_one_place_are_refused(run: Run, tiny_directory: Path, tmp_path: Path):
    words = ("--out", tmp_path / "a", "--html", tmp_path / "a")
    ended = run("bench", tiny_directory, *QUICK, *words)
    assert ended.status == 2
    assert "twice, expected two files" in ended.err


def test_an_architecture_is_measured_with_random_weights(run: Run, monkeypatch: pytest.MonkeyPatch):
    config = tiny_config(vocab_size=CLIP_VOCABULARY)
    monkeypatch.setitem(synthetic_inputs.ARCHITECTURES, "ViT-B-32", lambda: config)
    ended = run("bench", "ViT-B-32", *QUICK, "--json")
    assert ended.status == 0, ended.err
    answer = json.loads(ended.out)
    assert answer["model"] == "ViT-B-32"
    assert answer["random_weights"] is True
    assert answer["recommended"][0]["cost_per_million"] is None
    places = [file.model for file in list_compiled(default_compiled_dir())]
    assert not [place for place in places if place.endswith("ViT-B-32")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--precision", "fp31"), "unknown precision 'fp31': did you mean 'fp32'"),
        (("--precision", ","), "precision: got (), expected at least one"),
        (
            ("--precision", "int8", "--engine", "openvino"),
            "engine: got 'openvino' and precision='int8', expected precision auto, fp32 or bf16",
        ),
        (
            ("--engine", "openvino", "--device", "cuda"),
            "device: got 'cuda' for the openvino",
        ),
        (("--batch", "0"), "--batch: got '0', expected numbers from 1 to 4,096"),
        (("--batch", "x"), "--batch: got 'x', expected numbers from 1 to 4,096"),
        (("--batch", ""), "--batch: got '', expected a value (Images or texts at once)"),
        (("--price-per-hour", "-1"), "price per hour: got -1.0, expected more than 0"),
        (("--compare", "clip"), "unknown baseline 'clip': did you mean 'open_clip'?"),
        (("--out", "."), ".: got a directory, expected a name for a file"),
    ],
)
def test_mistakes(run: Run, tiny_directory: Path, words: tuple[str, ...], said: str):
    ended = run("bench", tiny_directory, *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {said}")
    assert ended.err.count("\n") == 1


def test_an_unknown_model(run: Run):
    ended = run("bench", "ViT-B-33")
    assert ended.status == 2
    assert "did you mean" in ended.err
