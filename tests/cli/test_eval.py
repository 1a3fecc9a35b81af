"""`twinlens eval`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinlens
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens.checkpoints.native import save_model
from twinlens.data.datasets import open_dataset
from twinlens.eval.context import EvalContext
from twinlens.eval.tasks.zero_shot import evaluate_zero_shot


@pytest.fixture
def words(tiny_directory: Path, image_folders: Path, tmp_path: Path) -> list[object]:
    data = ["--data", image_folders, "--task", "zero-shot"]
    return ["eval", tiny_directory, *data, "--cache-dir", tmp_path / "cache"]


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    """Two classes that colours tell apart, in CLIP_benchmark's kind of directory, with captions."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 6)):
        for number, name in enumerate(("dark", "light")):
            folder = tmp_path / "shades" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(150 * number, 150 * number + 100, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
                (folder / f"{i}.txt").write_text(f"a {name} image\nnumber {i} of {name}\n")
    return tmp_path / "shades"


def test_json_is_what_was_measured(run, words: list[object]):
    ending = run(*words, "--template", "a {}", "--json")
    lens = twinlens.load(str(words[1]), decode="exact")
    context, data = EvalContext(lens), open_dataset(str(words[3]))
    expected = evaluate_zero_shot(context, data, templates=["a {}"])
    answer = json.loads(ending.out)
    assert answer == json.loads(
        json.dumps(expected.to_dict(model=str(words[1]), pretrained="by hand"))
    )
    assert answer["samples"] == 12


def test_the_table_has_metrics_intervals_chance_and_classes(run, words: list[object]):
    ending = run(*words)
    assert ending.status == 0
    assert "12 images, 4 classes" in ending.out
    [line] = [line for line in ending.out.splitlines() if " acc1 " in line]
    assert line.rstrip().endswith("25.0%")
    assert " to " in line
    assert all(label in ending.out for label in ("blue", "green", "red", "yellow"))


def test_every_task_on_several_sets_with_one_load(
    run, tiny_directory: Path, splits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    loads: list[object] = []
    load = twinlens.load

    def counted(*args: object, **options: object):
        loads.append(args)
        return load(*args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("twinlens.embed.loading.load", counted)
    tasks = ("zero-shot", "retrieval", "linear-probe", "robustness", "scores")
    asked = [word for task in tasks for word in ("--task", task)]
    out, cache = tmp_path / "out", tmp_path / "cache"
    data = ["--data", splits, "--data", splits / "test", "--train", splits / "train"]
    ending = run("eval", tiny_directory, *data, *asked, "--out", out)
    assert "--train and --val: got one for 2 data sets" in ending.err
    common = ["--cache-dir", cache, "--corruptions", "contrast", "--shots", "1,2", "--seeds", "2"]
    ending = run("eval", tiny_directory, "--data", splits, *asked, *common, "--out", out, "--json")
    assert ending.status == 0, ending.err
    answers = json.loads(ending.out)
    assert [one["task"] for one in answers] == [
        "zeroshot_classification",
        "zeroshot_retrieval",
        "linear_probe",
        "robustness",
        "scores",
    ]
    assert answers[2]["metrics"]["acc1"] == 1.0
    assert len(loads) == 1
    written = sorted(path.name for path in out.iterdir())
    assert written == [
        "evidence",
        "report.html",
        "results.csv",
        *(f"shades_{one['task']}.json" for one in sorted(answers, key=lambda one: one["task"])),
    ]
    assert json.loads((out / "shades_scores.json").read_text()) == answers[4]
    assert "shades" in (out / "report.html").read_text()
    again = run("eval", tiny_directory, "--data", splits, *asked, *common, "--json")
    assert "nothing was computed" in again.err
    assert json.loads(again.out) == answers


def test_two_models_are_compared(run, splits: Path, tiny_directory: Path, tmp_path: Path):
    other = tiny_clip(vocab_size=CLIP_VOCABULARY)
    other.image_tower.class_embedding.data += 1  # pyright: ignore[reportAttributeAccessIssue]
    save_model(other, tmp_path / "other")
    for name, model in (("a", tiny_directory), ("b", tmp_path / "other")):
        words = ["--data", splits, "--no-cache", "--out", tmp_path / name]
        assert run("eval", model, *words).status == 0
    out = tmp_path / "page"
    ending = run("compare", tmp_path / "a", tmp_path / "b", "--out", out, "--json")
    answer = json.loads(ending.out)
    values = [
        json.loads((tmp_path / name / "shades_zeroshot_classification.json").read_text())
        for name in ("a", "b")
    ]
    [compared] = [one for one in answer["comparisons"] if one["metric"] == "acc1"]
    first, second = (one["metrics"]["acc1"] for one in values)
    assert compared["difference"] == second - first
    assert 0 < compared["sign_test_p_value"] <= 1
    assert json.loads((out / "comparison.json").read_text()) == answer
    assert "shades" in (out / "comparison.html").read_text()
    table = run("compare", tmp_path / "a", tmp_path / "b")
    assert table.status == 0
    assert "Second less first" in table.out
    ending = run("compare", tmp_path / "a", tmp_path / "nowhere")
    assert ending.status == 2
    assert "nowhere" in ending.err


def test_results_of_a_supervised_model_stand_beside(
    run, splits: Path, words: list[object], tmp_path: Path
):
    probe = ["eval", words[1], "--data", splits, "--task", "linear-probe", "--no-cache"]
    assert run(*probe, "--out", tmp_path / "probe").status == 0
    ending = run(
        "eval",
        words[1],
        "--data",
        splits,
        "--reference",
        tmp_path / "probe",
        "--no-cache",
        "--json",
    )
    references = json.loads(ending.out)["references"]
    assert {one["metric"]: one["value"] for one in references}["acc1"] == 1.0
    assert references[0]["source"] == str(tmp_path / "probe")


def test_unreadable_and_ignored_files_are_said(run, words: list[object], tmp_path: Path):
    root = tmp_path / "images"
    for number in range(100):
        (root / str(number % 2)).mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (8, 8)).save(root / str(number % 2) / f"{number}.png")
    (root / "0" / "broken.png").write_bytes(b"not an image")
    (root / "0" / "notes.md").touch()
    ending = run("eval", words[1], "--data", root, "--json", "--no-cache")
    assert ending.status == 0
    [unreadable] = json.loads(ending.out)["unreadable"]
    assert unreadable["image"] == "0/broken.png"
    said, ignored, listed = ending.err.splitlines()
    assert said == "left out of images:"
    assert ignored == f"  1 x file of another kind: {root / '0' / 'notes.md'}"
    other = json.loads(ending.out)["left_out"]["file of another kind"]
    assert other == {"count": 1, "examples": [str(root / "0" / "notes.md")]}
    assert listed.startswith("unreadable: 0/broken.png: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({3: "/nowhere"}, "/nowhere"),
        ({1: "icon"}, "did you mean 'icons'"),
        ({8: ["--language", "de"]}, "language: got 'de'"),
        ({8: ["--template", "x"]}, "template: got 'x'"),
        ({8: ["--out", "page.html"]}, "--out: got page.html, expected a directory"),
        ({5: "classifier"}, "the model has no classifier of its own"),
        ({5: "classifier", 8: ["--template", "a {}"]}, "--template and --language: got one"),
        ({5: "classifier", 8: ["--language", "de"]}, "--template and --language: got one"),
        ({5: "linear-probe"}, "got no training images"),
        ({5: "retrieval"}, "got no captions"),
        ({8: ["--shots", "1,2"]}, "--train, --val and --shots: got one, expected --task linear"),
        ({5: "linear-probe", 8: ["--shots", "a"]}, "--shots: got 'a', expected numbers"),
        ({8: ["--shifted", "x"]}, "--shifted, --baseline and --corruptions: got one, expected"),
        ({8: ["--corruptions", "jpeg"]}, "--shifted, --baseline and --corruptions: got one"),
        ({5: "retrieval", 8: ["--template", "a {}"]}, "of these tasks none asks in words"),
        (
            {5: "robustness", 8: ["--corruptions", "jpg"]},
            "unknown corruption 'jpg': did you mean 'jpeg'",
        ),
        ({5: "robustness", 8: ["--baseline", "x"]}, "--baseline: got one without --shifted"),
        ({8: ["--reference", "/nowhere"]}, "/nowhere"),
    ],
)
def test_mistakes_are_one_line(run, words: list[object], changes: dict[int, object], message: str):
    extra = changes.pop(8, [])
    changed = [changes.get(index, word) for index, word in enumerate(words)]
    ending = run(*changed, *extra)  # pyright: ignore[reportGeneralTypeIssues]
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert message in ending.err


def test_a_model_and_data_are_needed(run):
    assert "Missing argument 'MODEL'" in run("eval", "--data", "digits").err
    assert "Missing option '--data'" in run("eval", "icons").err


def test_two_data_sets_of_a_name_are_refused(run, words: list[object]):
    ending = run(*words, "--data", words[3])
    assert "twice, expected data sets of different names" in ending.err
