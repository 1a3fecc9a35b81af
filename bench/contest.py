"""What races have in common: fresh processes in turn, their memory, a table, a file.

A script that races calls `race` with the words of each contestant's own command line; there it
answers with one line of JSON on stdout.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

Rows = dict[str, list[dict[str, float]]]


def peak_mib() -> float:
    """The largest resident memory this process had, MiB; mapped files count as far as read."""
    # Not `getrusage`: a child's figure starts at its parent's.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def resident_mib() -> float:
    """The resident memory this process has now, MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def race(
    script: str,
    contestants: Mapping[str, Sequence[str]],
    rounds: int,
    environments: Mapping[str, Mapping[str, str]] | None = None,
) -> Rows:
    """Every contestant once a round, in a fresh process of the script, with its environment."""
    figures: Rows = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, words in contestants.items():
            command = [sys.executable, script, *words]
            env = os.environ | (environments or {}).get(name, {})
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
            figures[name].append(json.loads(answer.stdout.splitlines()[-1]))
    return figures


def ratios(figures: Rows, key: str, one: str, other: str) -> list[float]:
    """One contestant's figure by another's, round by round."""
    pairs = zip(figures[one], figures[other], strict=True)
    return [first[key] / second[key] for first, second in pairs]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, with the lowest and the highest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def print_figures(figures: Rows) -> None:
    table = Table(box=None)
    keys = list(next(iter(figures.values()))[0])
    for column in ("", *keys):
        table.add_column(column, justify="right" if column else "left")
    for name, rows in figures.items():
        columns = [[row[key] for row in rows] for key in keys]
        table.add_row(name, *(spread(c, digits=2 if max(c) < 10 else 1) for c in columns))
    Console(width=180).print(table)


def save(figures: Rows, path: Path, *packages: str, settings: object = None) -> None:
    """The figures with the kind of machine, the versions and the settings, as JSON."""
    answer = {
        "machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "versions": {name: version(name) for name in ("torch", *packages)},
        "settings": settings,
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answer, indent=2))
