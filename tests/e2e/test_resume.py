"""Real runs on as many threads as torch takes: the same bytes twice, and after a real kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.runs import write_squares

COMMAND = Path(sys.executable).with_name("twinlens")
SETTINGS = (
    "steps=12",
    "batch_size=16",
    "checkpoint_every=4",
    "log_every=1",
    "model.vision.width=8",
    "model.vision.heads=4",
    "model.text.layers=1",
    "model.text.vocab_size=520",
)
TIME_LIMIT = 240

# The command, killed without warning as soon as a step is in the log.
KILLED = """
import os, signal, sys, time
from twinlens.cli.main import main
from twinlens.train.checkpoint import list_checkpoints
from twinlens.train.log import TrainingLog

last, write = int(sys.argv.pop(1)), TrainingLog.write

def write_and_die(log, step, scale):
    write(log, step, scale)
    if step == last:
        # Checkpoints of earlier steps are written beside the training: wait until they are whole.
        while len(list_checkpoints(log.path.parent / "checkpoints")) < (step - 1) // 4:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

TrainingLog.write = write_and_die
main()
"""


def train(program: list[str], data: Path, out: Path, *extra: str) -> tuple[int, str]:
    """Exit status and what was said; no number of threads is asked for."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    run = ["--recipe", "icons-demo", "--data", str(data), "--out", str(out)]
    chosen = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    ended = subprocess.run(
        [*program, "train", *run, *settings, *extra],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
        env={name: value for name, value in os.environ.items() if name not in chosen},
    )
    return ended.returncode, ended.stderr


def model(run: Path) -> dict[str, bytes]:
    files = ("model.safetensors", "tokenizer.json", "config.json")
    return {name: (run / "model" / name).read_bytes() for name in files}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The model of a run that was left alone."""
    out = tmp_path_factory.mktemp("whole") / "run"
    status, said = train([str(COMMAND)], data, out)
    assert status == 0, said
    return model(out)


def test_two_runs_on_torch_s_own_number_of_threads_are_byte_identical(
    whole: dict[str, bytes], data: Path, tmp_path: Path
):
    status, said = train([str(COMMAND)], data, tmp_path / "again")
    assert status == 0, said
    assert model(tmp_path / "again") == whole


@pytest.mark.parametrize(
    ("killed_at", "checkpoints"),
    [
        pytest.param(2, [], id="before the first checkpoint"),
        pytest.param(6, [4], id="in the middle"),
        pytest.param(11, [4, 8], id="before the last step"),
    ],
)
def test_killed_and_resumed_is_byte_identical(
    whole: dict[str, bytes], data: Path, tmp_path: Path, killed_at: int, checkpoints: list[int]
):
    run = tmp_path / "run"
    status, said = train([sys.executable, "-c", KILLED, str(killed_at)], data, run)
    assert status == -signal.SIGKILL, said
    left = sorted(path.name for path in run.glob("checkpoints/step-*"))
    assert left == [f"step-{step:08d}" for step in checkpoints]
    assert not (run / "model").exists()
    status, said = train([str(COMMAND)], data, run, "--resume")
    assert status == 0, said
    assert model(run) == whole
