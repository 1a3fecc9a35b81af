"""Runs that cannot learn say so in a line, once, in the log and on the page, and go on."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.runs import squares, tiny_recipe
from twinlens.data.datasets import Dataset
from twinlens.train.learnability import find_recipe_warnings
from twinlens.train.optim import OptimConfig
from twinlens.train.recipes.adapt import AdaptConfig
from twinlens.train.recipes.recipe import Recipe
from twinlens.train.trainer import fit


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return squares(tmp_path_factory.mktemp("data") / "squares")


def recipe_of(**changes: object) -> Recipe:
    """One whose vocabulary a single caption fills: bytes and nothing else."""
    recipe = tiny_recipe("vit", **changes)
    text = replace(recipe.model.text_config, vocab_size=514)
    return replace(recipe, model=replace(recipe.model, text=text))


def alike(pairs: Dataset, **same: object) -> Dataset:
    return replace(pairs, samples=[replace(one, **same) for one in pairs.samples])


CASES: dict[str, tuple[dict[str, object], dict[str, object], str | None]] = {
    "good": ({}, {}, None),
    "all captions alike": ({"captions": ("a square",)}, {}, "got one caption in each batch"),
    "captions alike, other concepts": (
        {"captions": ("a square",), "concept": None}, {}, "got one caption in each batch",
    ),
    "one concept": ({"concept": "square"}, {}, "got one concept in each batch"),
    "batches of one": ({}, {"batch_size": 1}, "got one caption in each batch"),
    "warm-up as long as the run": (
        {}, {"optim": OptimConfig(warmup_steps=12)}, "optim.warmup_steps: got 12, expected fewer",
    ),
    "warm-up longer than the run": (
        {}, {"optim": OptimConfig(warmup_steps=2000)}, "got 2,000, expected fewer than the",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_keeps_a_run_from_learning_is_said_once(
    pairs: Dataset, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
):
    same, changes, expected = CASES[case]
    out = tmp_path / "run"
    with caplog.at_level(logging.WARNING, "twinlens"):
        fit(recipe_of(**changes), alike(pairs, **same), out, device="cpu")
    said = [record.getMessage() for record in caplog.records]
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    logged = [one for line in lines for one in line["warnings"] or ()]
    page = (out / "train.html").read_text()
    assert lines[-1]["step"] == 12
    if expected is None:
        assert (said, logged) == ([], [])
        assert "Why it may not learn" not in page
        return
    assert len(said) == len(logged) == 1
    assert said == [f"warning: {logged[0]}"]
    assert expected in said[0]
    assert "\n" not in said[0]
    assert page.count("Why it may not learn") == 1


def test_one_pair_is_too_few(pairs: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    one = replace(pairs, samples=[replace(pairs.samples[0], captions=("red",))])
    with caplog.at_level(logging.WARNING, "twinlens"):
        fit(
            recipe_of(steps=3, optim=OptimConfig(warmup_steps=1)),
            one,
            tmp_path / "run",
            device="cpu",
        )
    assert [record.getMessage() for record in caplog.records] == [
        "warning: training data: got one caption in each batch so far, expected several to tell "
        "apart"
    ]


def adapted(adapt: AdaptConfig) -> Recipe:
    return replace(tiny_recipe("vit"), init="some", adapt=adapt)


def test_locked_towers_without_a_classifier_learn_nothing():
    locked = AdaptConfig(unlocked_image_layers=0, unlocked_text_layers=0)
    [line] = find_recipe_warnings(adapted(locked))
    assert line.startswith("adapt: got both towers locked, expected layers to train")
    assert find_recipe_warnings(adapted(replace(locked, head="zero-shot"))) == []
    assert find_recipe_warnings(adapted(replace(locked, unlocked_text_layers=1))) == []
