"""A run of two processes that is killed again and again: a program of its own, for `test_survival`.

Usage: killed.py DATA OUT KILLS SEED
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tests.train.world_runs import Processes, ended, fork_all, run

RUN = {"steps": 150, "checkpoint_every": 2, "log_every": 10, "keep_checkpoints": 2}
TWO = Processes(size=2, accum_freq=2)


def wait_for_save(checkpoints: Path) -> None:
    """Wait until a checkpoint is being written, or for ten thousand looks at the directory."""
    for _ in range(10_000):
        if any(checkpoints.glob("*.partial")):
            return
        time.sleep(0.0005)


def main(data: Path, out: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    run(TWO, data, out / "whole", **RUN)
    killed = in_a_save = 0
    while killed < kills:
        pids = fork_all(TWO, data, out / "killed", resume=True, **RUN)
        seen = newest(out / "killed")
        while newest(out / "killed") == seen:  # it goes on from where the one before was killed
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.15))
        if killed % 4 == 0:  # on a slow machine chance alone may meet no save
            wait_for_save(out / "killed" / "checkpoints")
        for pid in rng.choice([pids, pids[:1], pids[1:]]):  # both, or one of them
            os.kill(pid, signal.SIGKILL)
        statuses = ended(pids)
        assert -signal.SIGKILL in statuses, statuses
        killed += 1
        in_a_save += any((out / "killed" / "checkpoints").glob("*.partial"))
    run(TWO, data, out / "killed", resume=True, **RUN)
    print(killed, in_a_save)


def newest(out: Path) -> str:
    latest = out / "checkpoints" / "latest"
    return latest.read_text() if latest.exists() else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
