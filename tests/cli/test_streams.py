"""Standard output that is closed, full or not read: never status 0 with an answer lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TWINLENS = [sys.executable, "-c", "from twinlens.cli.main import main; main()"]
NOWHERE = Path("/dev/full")
needs_full = pytest.mark.skipif(not NOWHERE.exists(), reason="no device that is always full")


def ended(redirected: str, *words: str) -> tuple[int, str, str]:
    """Status, output and errors of a command whose streams the shell has redirected."""
    shell = ["bash", "-c", f'"$@" {redirected}', "bash"]
    done = subprocess.run([*shell, *TWINLENS, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", [("models", "--known"), ("--help",), ("--version",)])
def test_a_closed_output_is_refused_before_work(words: tuple[str, ...]):
    status, _, said = ended(">&-", *words)
    assert status == 2
    assert said.startswith("error: standard output: got a closed one, expected one to answer on")
    assert said.count("\n") == 1


@needs_full
@pytest.mark.parametrize("words", [("models", "--known"), ("models", "--json"), ("--help",)])
def test_a_full_output_is_a_line(words: tuple[str, ...]):
    status, _, said = ended(">/dev/full", *words)
    assert (status, said) == (
        2,
        "error: standard output: No space left on device: the answer is lost\n",
    )


@pytest.mark.parametrize("words", [("models", "--known"), ("models", "--json"), ("--version",)])
def test_a_reader_that_has_gone_ends_it_quietly(words: tuple[str, ...]):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*TWINLENS, *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@needs_full
@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full", "<&-"])
def test_the_answer_comes_whatever_becomes_of_the_lines_beside_it(redirected: str):
    status, out, _ = ended(redirected, "models", "--known")
    assert status == 0
    assert "openai/ViT-B-32" in out


@needs_full
def test_a_mistake_keeps_its_status_where_nothing_can_be_said():
    assert ended(">/dev/full 2>/dev/full", "modles")[0] == 2
    assert ended(">&- 2>&-", "models")[0] == 2


@needs_full
def test_files_are_written_whoever_reads_the_answer(tmp_path: Path):
    results = tmp_path / "results"
    results.mkdir()
    code = (
        "import sys, typer; from pathlib import Path; from twinlens.cli import main\n"
        "def write(known, as_json):\n"
        "    typer.echo('x' * 100_000); Path('results/file').write_text('whole')\n"
        "main.app.registered_commands[0].callback = lambda: write(1, 1)\n"
        "sys.argv = ['twinlens', 'models']; main.main()"
    )
    shell = ["bash", "-c", '"$@" >/dev/full', "bash", sys.executable, "-c", code]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert (results / "file").read_text() == "whole"
