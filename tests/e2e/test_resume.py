"""A real run, killed for real: resumed, it ends with the bytes of one that was left alone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import twinlens

COMMAND = Path(sys.executable).with_name("twinlens")
SHARDS = Path(twinlens.__file__).parent / "assets" / "shards" / "train"
SETTINGS = ("steps=9", "batch_size=8", "checkpoint_every=2", "log_every=1")
TIME_LIMIT = 240


def words(out: Path) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    run = ["--recipe", "icons-demo", "--data", str(SHARDS), "--out", str(out)]
    return [str(COMMAND), "train", *run, *settings]


def train(out: Path, *extra: str) -> None:
    ended = subprocess.run(
        [*words(out), *extra], capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    assert ended.returncode == 0, ended.stderr


def kill_after_checkpoint(out: Path) -> None:
    """Start a run and kill it, without warning, once it has written a checkpoint."""
    process = subprocess.Popen(words(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    patience = time.monotonic() + TIME_LIMIT
    while not list(out.glob("checkpoints/step-*.safetensors")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < patience
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_killed_and_resumed_is_byte_identical(tmp_path: Path):
    train(tmp_path / "whole")
    kill_after_checkpoint(tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()
    train(tmp_path / "killed", "--resume")
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        whole, killed = (tmp_path / run / "model" / file for run in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes(), file
