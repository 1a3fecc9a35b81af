"""The documentation names every verb and every option that exists."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


VERBS = ["models", "classify", "train", "plan", "eval", "compare", "bench", "export"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_documented_under_its_verb(run, verb: str):
    text = DOCS.read_text(encoding="utf-8")
    [part] = re.findall(rf"^## `twinlens {verb}.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    options = set(re.findall(r"--[a-z][a-z-]+", run(verb, "--help").out)) - {"--help"}
    missing = {option for option in options if option not in part}
    assert options
    assert not missing
    shown = set(re.findall(r"`(--[a-z][a-z-]+)", part))
    assert shown <= options | {"--no-resume", "--resume"}


def test_global_options_are_documented(run):
    options = set(re.findall(r"--[a-z][a-z-]+", run("--help").out)) - {"--help"}
    text = DOCS.read_text(encoding="utf-8")
    assert options
    assert {option for option in options if option not in text} == set()
