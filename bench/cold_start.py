"""From the command to the answer: what a person waits for, each run a fresh process.

Run: python bench/cold_start.py [--rounds 10] [--out bench/results/cold_start.json]

Files are in the page cache; the interpreter, the imports, the weights and the image are not in
memory. `python -c pass` is the floor: no program in Python starts faster.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

import twinlens

IMAGE = Path(twinlens.__file__).parent / "assets" / "images" / "cat.png"
COMMAND = Path(sys.executable).with_name("twinlens")
CONTESTANTS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import twinlens": [sys.executable, "-c", "import twinlens"],
    "twinlens --help": [COMMAND, "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "twinlens classify": [
        *(COMMAND, "classify", IMAGE, "--labels", "cat,dog,bicycle,pizza", "--json"),
    ],
}


def seconds(command: list[str | Path]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("bench/results/cold_start.json"))
    options = parser.parse_args()
    for command in CONTESTANTS.values():
        seconds(command)  # into the page cache
    times: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(options.rounds):
        for name, command in CONTESTANTS.items():
            times[name].append(seconds(command))
    table = Table(box=None)
    for column in ("", "median s", "lowest", "highest"):
        table.add_column(column, justify="right" if column else "left")
    for name, taken in times.items():
        figures = (statistics.median(taken), min(taken), max(taken))
        table.add_row(name, *(f"{figure:.3f}" for figure in figures))
    Console().print(table)
    answer = {
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "seconds": times,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
