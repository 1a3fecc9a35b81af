"""Commands as the previous release spelled them."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from twinlens.cli.old_spellings import current_spelling


@pytest.mark.parametrize(
    ("old", "new", "num_warnings"),
    [
        ("eval --compare A B --out C --json", "compare A B --out C --json", 1),
        ("eval --out C --compare A B", "compare --out C A B", 1),
        (
            "train --recipe R --data D --out=O --plan --resume --devices 8xH100 --set a=1 --json",
            "plan --recipe R --devices 8xH100 --set a=1 --json",
            1,
        ),
        ("eval M --data D --cache C --no-keep", "eval M --data D --cache-dir C --no-cache", 2),
        ("eval M --data D --cache=C --keep", "eval M --data D --cache-dir=C", 2),
        ("data icons --cache C", "data icons --cache C", 0),
        ("train --recipe R --data D --out O", "train --recipe R --data D --out O", 0),
        ("", "", 0),
    ],
)
def test_arguments_become_those_of_this_release(
    old: str, new: str, num_warnings: int, capsys: pytest.CaptureFixture[str]
):
    assert current_spelling([*old.split(), ""]) == [*new.split(), ""]  # a blank word stays
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == num_warnings
    assert all(line.startswith("warning: ") and "deprecated" in line for line in warnings)


def test_an_old_plan_is_made_with_one_warning_and_nothing_written(run: Run, tmp_path: Path):
    words = ["--recipe", "openai-vit-b-32", "--devices", "8xH100", "--json"]
    ending = run("train", *words, "--plan", "--data", "/nowhere", "--out", tmp_path / "run")
    assert ending.status == 0
    assert ending.err == "warning: train --plan is deprecated: write twinlens plan --recipe NAME\n"
    assert json.loads(ending.out) == json.loads(run("plan", *words).out)
    assert not (tmp_path / "run").exists()
