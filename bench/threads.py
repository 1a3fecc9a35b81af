"""Threads on a busy machine: how OpenMP's threads wait, and how many there are.

Run: python bench/threads.py [--busy 2] [--rounds 3] [--seconds 1]

Fresh processes in turn, each with its own environment and nothing else changed: torch's builds for
processors bring libgomp, which reads it once, when it is loaded. `--busy` starts as many processes
that do nothing but count, and stops them at the end. Images are noise of the model's size; a rate
is the batch by the median call, `at best` by the fastest tenth of the calls: those that nothing
else disturbed, if there were any. `others` is how many cores' time went to other processes and
other machines meanwhile, the busy ones counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contest import print_figures, race, ratios, save, spread

HERE = Path(__file__).resolve()
DEFAULT = "as torch sets it"
ENVIRONMENTS = {
    DEFAULT: {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "1,000 spins": {"GOMP_SPINCOUNT": "1000"},
    "10,000 spins": {"GOMP_SPINCOUNT": "10000"},
}
"""libgomp spins 300,000 times by itself, and not at all when it is passive."""

MODELS = ("icons", "ViT-B-32")
BATCHES = (1, 32)
COUNT = "while True: pass"


@contextmanager
def counting(processes: int) -> Iterator[None]:
    """Processes that take all the time they get."""
    started = [subprocess.Popen([sys.executable, "-c", COUNT]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def contest(seconds: float) -> dict[str, float]:
    """Images a second of each model and batch; runs in a process of its own."""
    import torch  # noqa: PLC0415

    from twinlens import CLIP, Embedder, load, presets  # noqa: PLC0415

    figures: dict[str, float] = {}
    start, used = cores_busy(), time.process_time()
    began = time.perf_counter()
    for name in MODELS:
        lens = (
            load(name) if name == "icons" else Embedder.from_model(CLIP(presets.vit_b_32()), None)
        )
        side = lens.config.preprocess_config.image_size
        for batch in BATCHES:
            pixels = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
            taken = seconds_each(lens.embed_pixels, pixels, seconds)
            figures[f"{name}, {batch}"] = batch / statistics.median(taken)
            figures[f"{name}, {batch}, at best"] = batch / statistics.quantiles(taken, n=10)[0]
    others = cores_busy() - start - (time.process_time() - used)
    return figures | {"others": others / (time.perf_counter() - began)}


def cores_busy() -> float:
    """Seconds that all cores have worked since the machine started, or were taken from it."""
    ticks = [
        int(word) for word in Path("/proc/stat").read_text("ascii").split("\n")[0].split()[1:9]
    ]
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def seconds_each(call, pixels, seconds: float) -> list[float]:
    call(pixels)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        start = time.perf_counter()
        call(pixels)
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--busy", type=int, default=0, help="processes beside that only count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each rate")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "threads.json")
    parser.add_argument("--contest", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        sys.stdout.write(json.dumps(contest(options.seconds)) + "\n")
        return
    words = ["--contest", f"--seconds={options.seconds}"]
    with counting(options.busy):
        contestants = dict.fromkeys(ENVIRONMENTS, words)
        figures = race(str(HERE), contestants, options.rounds, ENVIRONMENTS)
    print_figures(figures)
    for name in list(ENVIRONMENTS)[1:]:
        for key in (key for key in figures[name][0] if key != "others"):
            by = spread(ratios(figures, key, name, DEFAULT), 2)
            sys.stdout.write(f"{key}: {name} is {by} x {DEFAULT}\n")
    save(figures, options.out, settings={"busy": options.busy, "seconds": options.seconds})


if __name__ == "__main__":
    main()
