"""The command in two processes, as torchrun starts them, and told to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import twinlens
from tests.e2e.test_resume import COMMAND, SETTINGS, TIME_LIMIT
from tests.train.runs import write_squares
from twinlens.data.datasets import open_dataset
from twinlens.eval.context import EvalContext
from twinlens.eval.tasks import zero_shot


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


def command(data: Path, out: Path, *settings: str) -> list[str]:
    words = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    return [str(COMMAND), "train", "--recipe", "icons-demo", "--data", str(data),
            "--out", str(out), *words]  # fmt: skip


def labelled(data: Path) -> Path:
    """The squares by their colours: an odd number of them, for two processes to share."""
    images = sorted(data.glob("*.png"))[:23]
    rows = [f"{path},{path.with_suffix('.txt').read_text().split()[-1]}" for path in images]
    table = data.parent / "labelled.csv"
    table.write_text("\n".join(["image,label", *rows, ""]))
    return table


def test_torchrun_trains_in_two_processes(data: Path, tmp_path: Path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    ended = subprocess.run(
        [
            *launch,
            "--nproc-per-node=2",
            *command(data, tmp_path / "run"),
            "--workers=1",
            "--val",
            str(labelled(data)),
        ],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [str(tmp_path / "run" / "model")]  # one process answers
    assert ended.stderr.count("12 steps of 16 from 24 pairs") == 1
    assert "step 12" in ended.stderr
    assert (tmp_path / "run" / "train.html").exists()
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert len(lines) == 12
    lens = twinlens.load(tmp_path / "run" / "model", device="cpu", precision="fp32")
    expected = zero_shot.evaluate_zero_shot(EvalContext(lens), open_dataset(labelled(data)))
    assert expected.num_samples == 23
    found = json.loads(lines[-1])["metrics"]  # measured by both
    assert found.keys() == expected.metrics.keys()
    assert found["acc1"] == expected.metrics["acc1"]
    assert found["mean_per_class_recall"] == expected.metrics["mean_per_class_recall"]


def test_sigterm_saves_and_ends_with_75(data: Path, tmp_path: Path):
    out = tmp_path / "run"
    running = subprocess.Popen(
        command(data, out, "steps=100000", "checkpoint_every=100000"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    end = time.monotonic() + TIME_LIMIT
    while not ((out / "log.jsonl").exists() and (out / "log.jsonl").read_text()):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=TIME_LIMIT)
    assert running.returncode == 75, said
    assert "and saved: --resume goes on" in said
    assert (out / "checkpoints" / "latest").read_text().startswith("step-")
    assert not (out / "model").exists()
