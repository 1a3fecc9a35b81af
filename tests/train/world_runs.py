"""Whole runs of one and two processes: a program of its own, for `test_worlds`.

It imports everything once and forks the processes of each run.

Usage: world_runs.py DATA OUT
"""

import os
import shutil
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.train.runs import tiny_recipe
from twinlens.data.datasets import open_dataset
from twinlens.distributed.world import distributed_world
from twinlens.errors import TwinlensError
from twinlens.train.recipes.recipe import ComputeConfig, Recipe
from twinlens.train.trainer import fit


@dataclass(frozen=True, kw_only=True)
class Processes:
    """So many processes that train together, and how."""

    size: int = 1
    parallel: str = "ddp"
    accum_freq: int = 1

    def recipe(self, **changes: object) -> Recipe:
        how = ComputeConfig(accum_freq=self.accum_freq, parallel=self.parallel)  # pyright: ignore[reportArgumentType]
        usual = {"precision": "fp32", "keep_checkpoints": 3}
        return tiny_recipe("vit", compute=how, **(usual | changes))


def fork_all(
    processes: Processes, data: Path, out: Path, *, resume: bool = False, **changes: object
) -> list[int]:
    """Begin a run; the numbers of its processes."""
    port = 20000 + (os.getpid() * 37 + int(time.monotonic() * 1000)) % 20000
    return [
        _fork(rank, processes, data, out, port, resume=resume, **changes)
        for rank in range(processes.size)
    ]


def _fork(rank: int, processes: Processes, *args: object, **options: object) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _train(rank, processes, *args, **options)  # pyright: ignore[reportArgumentType]
    except TwinlensError as error:
        print(f"process {rank}: {error}", file=sys.stderr)
        os._exit(2)
    except BaseException as error:
        print(f"process {rank}: a bug: {error!r}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _train(
    rank: int,
    processes: Processes,
    data: Path,
    out: Path,
    port: int,
    *,
    resume: bool,
    **changes: object,
) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes.size, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    warnings.simplefilter("ignore")  # a damaged checkpoint that is passed over
    with distributed_world(timeout=60) as world:
        recipe = processes.recipe(**changes)
        fit(recipe, open_dataset(data), out, resume=resume, device="cpu", world=world)


def ended(pids: list[int]) -> list[int]:
    """The exit statuses, once all have ended; minus the signal where one was killed."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def run(processes: Processes, data: Path, out: Path, **options: object) -> None:
    statuses = ended(fork_all(processes, data, out, **options))  # pyright: ignore[reportArgumentType]
    assert statuses == [0] * processes.size, statuses


def half_of(whole: Path, out: Path) -> None:
    """A run as it was at step 8 of 12."""
    shutil.copytree(whole, out)
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "step-00000012")


def main(data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    one = Processes()
    two = Processes(size=2)
    sharded = Processes(size=2, parallel="fsdp", accum_freq=2)
    for name, processes in {"one": one, "two": two, "sharded": sharded}.items():
        run(processes, data, out / name)
    half_of(out / "sharded", out / "sharded-then-one")
    run(one, data, out / "sharded-then-one", resume=True)
    half_of(out / "one", out / "one-then-sharded")
    run(sharded, data, out / "one-then-sharded", resume=True)
    half_of(out / "sharded", out / "sharded-then-two")
    run(two, data, out / "sharded-then-two", resume=True)
    # One process dies without a word; the other must not wait for ever.
    pids = fork_all(two, data, out / "orphan", steps=100_000)
    while not (out / "orphan" / "checkpoints" / "latest").exists():
        time.sleep(0.05)
    os.kill(pids[1], signal.SIGKILL)
    assert ended(pids) == [2, -signal.SIGKILL]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
