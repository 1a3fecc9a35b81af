"""`twinlens train`."""

import json
import shutil
from pathlib import Path

import pytest

import twinlens
from tests.tiny import CLIP_VOCABULARY, tiny_config
from tests.train.runs import tiny_recipe
from twinlens.train import trackers
from twinlens.train.recipes import builtin
from twinlens.train.recipes.recipe import Recipe


def four_steps() -> Recipe:
    return tiny_recipe(
        "vit",
        model=tiny_config(vocab_size=CLIP_VOCABULARY, context_length=16),
        batch_size=4,
        steps=4,
        precision="fp32",
        checkpoint_every=2,
        eval_every=2,
        log_every=1,
    )


@pytest.fixture(autouse=True)
def a_recipe_of_four_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(builtin.PRETRAIN_RECIPES, "tiny", four_steps)


@pytest.fixture
def pairs(image_folders: Path, tmp_path: Path) -> Path:
    table = tmp_path / "pairs.csv"
    rows = [f"{path},a {path.parent.name} one" for path in image_folders.glob("*/*.png")]
    table.write_text("\n".join(["image,text", *sorted(rows), ""]))
    return table


@pytest.fixture
def words(pairs: Path, tmp_path: Path) -> list[object]:
    return ["train", "--recipe", "tiny", "--data", pairs, "--out", tmp_path / "run"]


def test_it_prints_where_the_model_is(run, words: list[object], tmp_path: Path):
    ending = run(*words)
    assert (ending.status, ending.out) == (0, f"{tmp_path / 'run' / 'model'}\n")
    assert "tiny: 4 steps of 4 from 12 pairs" in ending.err
    assert "step 4: loss " in ending.err
    lens = twinlens.load(tmp_path / "run" / "model")
    assert lens.config.provenance.recipe == "tiny"


def test_settings_change_the_recipe(run, words: list[object], tmp_path: Path):
    ending = run(*words, "--set", "steps=2", "--set", "optim.lr=0.5", "--json")
    answer = json.loads(ending.out)
    assert answer["model"] == str(tmp_path / "run" / "model")
    assert answer["last"]["step"] == 2
    saved = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (saved["steps"], saved["optim"]["lr"]) == (2, 0.5)


def test_trackers_get_every_line_of_the_log(
    run, words: list[object], monkeypatch: pytest.MonkeyPatch
):
    logged: list[int] = []

    class Ours:
        def __init__(self, out: Path, recipe: Recipe) -> None:
            assert (out.name, recipe.name) == ("run", "tiny")

        def log(self, step: int, values: dict[str, float]) -> None:
            assert values["loss"] > 0
            logged.append(step)

        def close(self) -> None:
            logged.append(-1)

    monkeypatch.setitem(trackers.TRACKERS, "ours", Ours)
    assert run(*words, "--track", "ours").status == 0
    assert logged == [1, 2, 3, 4, -1]


def test_validation_is_the_verb_eval_s_accuracy(
    run, words: list[object], tmp_path: Path, image_folders: Path
):
    ending = run(*words, "--val", image_folders, "--template", "a {} one", "--json")
    metrics = json.loads(ending.out)["last"]["metrics"]
    assert ending.err.count("acc1") == 2  # at steps 2 and 4
    model = tmp_path / "run" / "model"
    words = ["eval", model, "--data", image_folders, "--template", "a {} one", "--json"]
    words += ["--engine", "torch"]  # which training measures with
    assert metrics == json.loads(run(*words).out)["metrics"]


def test_a_classifier_is_measured_as_the_verb_eval_does(
    run, tiny_directory: Path, image_folders: Path, tmp_path: Path
):
    out = tmp_path / "run"
    settings = [
        "steps=4",
        "batch_size=4",
        "precision=fp32",
        "eval_every=2",
        "adapt.interpolation=0.5",
    ]
    ending = run(
        "train", "--recipe", "finetune-classifier", "--init", tiny_directory,
        "--data", image_folders, "--val", image_folders, "--out", out, "--json",
        *(word for setting in settings for word in ("--set", setting)),
    )  # fmt: skip
    assert ending.err.count("acc1") == 2  # at steps 2 and 4
    metrics = json.loads(ending.out)["last"]["metrics"]
    words = ["eval", out / "model", "--data", image_folders, "--json"]
    answer = json.loads(run(*words, "--task", "classifier").out)
    assert metrics == answer["metrics"]
    assert (answer["task"], answer["classes"]) == ("classifier", 4)
    assert metrics != json.loads(run(*words).out)["metrics"]  # zero-shot is something else


def test_a_classifier_is_asked_nothing_in_words(
    run, tiny_directory: Path, image_folders: Path, tmp_path: Path
):
    words = ["--init", tiny_directory, "--data", image_folders, "--out", tmp_path / "run"]
    ending = run(
        "train", "--recipe", "finetune-classifier", *words,
        "--val", image_folders, "--template", "a {}",
    )  # fmt: skip
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert "--template: got 'a {}', expected none: a classifier reads no words" in ending.err
    assert not (tmp_path / "run").exists()


def test_a_class_that_no_classifier_will_have_is_known_before_the_run(
    run, tiny_directory: Path, image_folders: Path, tmp_path: Path
):
    held_out = tmp_path / "val" / "mauve"
    held_out.mkdir(parents=True)
    shutil.copy(image_folders / "blue" / "0.png", held_out)
    words = ["--init", tiny_directory, "--data", image_folders, "--out", tmp_path / "run"]
    ending = run("train", "--recipe", "finetune-classifier", *words, "--val", held_out.parent)
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert "val: got 'mauve', expected some of the 4 classes that the classifier has" in ending.err
    assert not (tmp_path / "run").exists()


def test_resume_goes_on_and_a_second_run_is_refused(
    run, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr("twinlens.train.trainer.save_model", interrupt)
        ending = run(*words)
    assert ending.status == 130
    assert ending.err.splitlines()[-1].startswith("stopped: the same command with --resume")
    refused = run(*words)
    assert (refused.status, refused.out, refused.err.count("\n")) == (2, "", 2)
    assert "already holds a run" in refused.err
    assert run(*words, "--resume").status == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--recipe", "tinny"], "unknown recipe 'tinny': did you mean 'tiny'"),
        (["--set", "optim.rl=1"], "unknown setting 'optim.rl': did you mean 'optim.lr'"),
        (["--set", "steps"], "--set: got 'steps', expected KEY=VALUE"),
        (["--set", "steps=many"], "steps: got 'many'"),
        (["--set", "batch_size=0"], "batch_size: got 0"),
        (["--data", "/nowhere.csv"], "/nowhere.csv"),
        (["--val", "/nowhere"], "/nowhere"),
        (["--track", "wandbb"], "unknown tracker 'wandbb': did you mean 'wandb'"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_run(
    run, words: list[object], tmp_path: Path, extra: list[str], message: str
):
    ending = run(*words, *extra)
    assert (ending.status, ending.out, ending.err.count("\n")) == (2, "", 1)
    assert message in ending.err
    assert not (tmp_path / "run").exists()


def test_what_the_validation_set_leaves_out_is_said_and_refused(
    run, words: list[object], image_folders: Path, tmp_path: Path
):
    root = tmp_path / "measured"
    shutil.copytree(image_folders, root / "valid")
    shutil.copytree(image_folders, root / "train")
    (root / "valid" / "blue" / "x.svg").write_text("<svg/>")
    refused = run(*words, "--val", root, "--strict")
    assert (refused.status, refused.out) == (2, "")
    assert "expected none with --strict: 1 x SVG image" in refused.err
    ending = run(*words, "--val", root)
    assert ending.status == 0
    assert f"{root}: using its split 'val'" in ending.err
    assert "left out of valid:\n  1 x SVG image (.svg), which is not read" in ending.err
