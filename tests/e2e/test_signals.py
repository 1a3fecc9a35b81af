"""Real commands that wait for storage that never answers, told to stop: they end in seconds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.runs import write_squares

# The command; one of the squares, and each tar that is indexed, is a pipe that says nothing.
PROGRAM = """
from pathlib import Path
from twinlens.cli.main import main
from twinlens.data.webdataset import indexes

indexes.build_index = lambda tar: (tar.parent / "slow").read_bytes()
read = Path.read_bytes

def read_slowly(path):
    return read(path.parents[1] / "slow" if path.name == "23.png" else path)

Path.read_bytes = read_slowly
main()
"""
STARTS = 240
"""Seconds that a command may take to begin to read, on a busy machine."""

ENDS = 30
"""Seconds that it may take to end; it takes five where the machine is idle."""

SMALL = ("steps=1000", "batch_size=4", "model.vision.width=8", "model.vision.heads=4",
         "model.text.layers=1", "model.text.vocab_size=520")  # fmt: skip


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A file that never says anything."""
    os.mkfifo(tmp_path / "slow")
    return tmp_path / "slow"


def words_of(verb: str, pipe: Path) -> list[str]:
    """A command that reads the pipe."""
    root = pipe.parent
    images = sorted(write_squares(root / "squares").glob("*.png"))
    table = root / "table.csv"
    rows = [f"{path},a square,square" for path in images[:-1]]
    table.write_text("\n".join(["image,text,label", *rows, f"{images[-1]},a pipe,pipe", ""]))
    tar = root / "slow.tar"
    tar.write_bytes(bytes(1024))
    settings = [word for setting in SMALL for word in ("--set", setting)]
    train = ["train", "--recipe", "icons-demo", "--data", str(table), "--out", str(root / "run")]
    return {
        "train": [*train, *settings],
        "train with workers": [*train, *settings, "--workers", "2"],
        "train opening": [*train[:4], str(tar), *train[5:], *settings],
        "eval": ["eval", "icons", "--data", str(table), "--no-cache"],
        "data index": ["data", "index", str(tar)],
        "classify": ["classify", str(images[-1]), "--labels", "cat,dog"],
    }[verb]


def wait_until_read(pipe: Path, process: subprocess.Popen[str]) -> int:
    """Return the pipe's other end once somebody reads: before that there is none."""
    end = time.monotonic() + STARTS
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody reads the pipe")


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("verb", "number", "status"),
    [
        ("train", signal.SIGTERM, 75),
        ("train", signal.SIGINT, 130),
        ("train with workers", signal.SIGTERM, 75),
        ("train with workers", signal.SIGINT, 130),
        ("train with workers", signal.SIGKILL, -signal.SIGKILL),
        ("train opening", signal.SIGTERM, 143),
        ("eval", signal.SIGTERM, 143),
        ("data index", signal.SIGTERM, 143),
        ("data index", signal.SIGINT, 130),
        ("classify", signal.SIGTERM, 143),
    ],
)
def test_a_command_that_waits_for_storage_ends(
    pipe: Path, verb: str, number: signal.Signals, status: int
):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words_of(verb, pipe)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            writer = wait_until_read(pipe, process)
            others = children(process.pid)
            assert bool(others) == ("workers" in verb)
            process.send_signal(number)
            _, said = process.communicate(timeout=ENDS)
            assert process.returncode == status, said
            assert "Traceback" not in said
            if status == 75:
                assert "and saved: --resume goes on" in said.splitlines()[-1]
            end = time.monotonic() + ENDS
            while any(map(is_alive, others)) and time.monotonic() < end:
                time.sleep(0.05)
            assert not any(map(is_alive, others))
            os.close(writer)
        finally:
            process.kill()


AT_ONCE = """
import signal
from twinlens import signals

with signals.handle_signals() as received:
    try:
        signal.raise_signal(signal.SIGTERM)
    except signals.Terminated:
        print(received)
"""


def test_the_signal_is_known_when_its_exception_is_raised():
    ended = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, check=True)
    assert ended.stdout == b"[15]\n"
