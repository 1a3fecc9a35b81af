"""What a run of tests says of itself: counts, names of what was skipped, and no silence in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    "test_some.py": """
import pytest

def test_runs():
    pass

@pytest.mark.skip(reason="needs a GPU")
def test_rests():
    pass
""",
    "test_whole.py": """
import pytest

pytest.importorskip("no_such_package")

def test_never_seen():
    pass
""",
}


def run(folder: Path, names: list[str], *words: str, ci: bool) -> subprocess.CompletedProcess[str]:
    for name in names:
        (folder / name).write_text(FILES[name])
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.tally", "-p", "no:cacheprovider",
         "-c", os.devnull, f"--rootdir={folder}", *words, str(folder)],
        cwd=ROOT,
        env=environment | ({"CI": "true"} if ci else {}),
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", [(), ("-n", "2")])
def test_what_was_run_and_what_was_skipped_is_said(tmp_path: Path, words: tuple[str, ...]):
    ended = run(tmp_path, ["test_some.py"], *words, ci=True)
    assert ended.returncode == 0, ended.stdout
    assert "collected 2, run 1, skipped 1, files skipped whole 0" in ended.stdout
    assert "skipped test_some.py::test_rests: needs a GPU" in ended.stdout


@pytest.mark.parametrize("words", [(), ("-n", "2")])
def test_a_file_that_lacks_a_package_fails_in_ci_and_is_named(
    tmp_path: Path, words: tuple[str, ...]
):
    ended = run(tmp_path, list(FILES), *words, ci=True)
    assert ended.returncode == 1, ended.stdout
    assert "collected 2, run 1, skipped 1, files skipped whole 1" in ended.stdout
    assert "skipped test_whole.py: could not import 'no_such_package'" in ended.stdout
    assert "failed: in CI no test may be skipped for want of a package" in ended.stdout


def test_elsewhere_it_is_named_alone(tmp_path: Path):
    ended = run(tmp_path, list(FILES), ci=False)
    assert ended.returncode == 0, ended.stdout
    assert "skipped test_whole.py: could not import 'no_such_package'" in ended.stdout
