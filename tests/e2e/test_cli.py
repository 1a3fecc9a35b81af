"""The command as users run it: a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("twinlens")
HEAVY = {"torch", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub", "ftfy"}
TIME_LIMIT = 120


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
        **options,  # pyright: ignore[reportCallIssue, reportArgumentType]
    )


def imported_by(*words: object) -> set[str]:
    """The modules that a command leaves imported."""
    code = (
        "import atexit, sys; from twinlens.cli.main import main; "
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("verb", [None, "models", "classify", "train", "eval", "data"])
def test_help_imports_nothing_heavy(verb: str | None):
    words = [verb, "--help"] if verb else ["--help"]
    assert imported_by(*words) & HEAVY == set()


def test_classify_answers_from_a_cold_start(tiny_directory: Path, image_folders: Path):
    image = image_folders / "red" / "0.png"
    ended = run("classify", image, "--labels", "cat,dog", "--model", tiny_directory, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    [answer] = json.loads(ended.stdout)
    assert answer["image"] == str(image)
    assert sum(one["probability"] for one in answer["predictions"]) == pytest.approx(1)


def test_classify_leaves_the_compiler_and_the_hub_alone(tiny_directory: Path, image_folders: Path):
    image = image_folders / "red" / "0.png"
    words = ["classify", image, "--labels", "cat,dog", "--model", tiny_directory]
    slow = {"torch._dynamo", "sympy", "huggingface_hub", "rich", "torch.distributed.tensor"}
    assert imported_by(*words) & slow == set()


def test_a_mistake_is_one_line_and_status_2():
    ended = run("classify", "/nowhere.png", "--labels", "cat", "--model", "icon")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "error: unknown model 'icon': did you mean 'icons'?\n"


def test_a_full_disk_is_one_line(tiny_directory: Path, image_folders: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").symlink_to("/dev/full")
    words = ["eval", tiny_directory, "--data", image_folders, "--no-cache", "--out", out]
    ended = run(*words)
    assert ended.returncode == 2
    assert "acc1" in ended.stdout  # what was measured is not lost
    page = out / "report.html"
    assert ended.stderr == f"error: {page}: cannot be written: No space left on device\n"


def test_a_closed_pipe_is_no_bug(tiny_directory: Path, image_folders: Path):
    images = " ".join(f"'{path}'" for path in image_folders.glob("*/*.png"))
    line = f"'{COMMAND}' classify {images} --labels a,b --model '{tiny_directory}' | head -1"
    ended = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    assert ended.stdout.count("\n") == 1
    assert "bug" not in ended.stderr


def test_a_disk_that_fills_while_training_is_one_line(image_folders: Path, tmp_path: Path):
    table = tmp_path / "pairs.csv"
    rows = [f"{path},a {path.parent.name} one" for path in image_folders.glob("*/*.png")]
    table.write_text("\n".join(["image,text", *rows, ""]))
    settings = {
        "steps": 1,
        "batch_size": 4,
        "model.vision.width": 8,
        "model.vision.heads": 4,
        "model.tokenizer": "clip",
        "model.text.vocab_size": 49408,
        "model.text.width": 8,
    }
    words = ["train", "--recipe", "icons-demo", "--data", str(table), "--out", f"{tmp_path}/run"]
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    # No file may grow beyond 64 KiB: writing more fails as it does on a full disk.
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -f 64; exec "$@"', "-", str(COMMAND), *words],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    *_, line = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert "could not be written" in line
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("run/**/*.safetensors*"))
