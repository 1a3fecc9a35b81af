"""The figures of `gpu.sh` as one table.

Run: python bench/gpu_table.py bench/results/gpu
"""

import json
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table


def rows(path: Path) -> list[tuple[str, str, str, str, str]]:
    """What was measured, its batch, pairs a second or seconds, memory, utilisation."""
    answer = json.loads(path.read_text())
    found = []
    for one in answer.get("rates", []):  # of `twinlens bench`
        what = f"{one['library']} {one['precision']}: {one['tower']}"
        found.append((what, f"{one['batch']}", f"{one['per_second']:,.0f}/s", "", ""))
    for name, rounds in answer.get("figures", {}).items():
        one = {key: statistics.median(row[key] for row in rounds) for key in rounds[0]}
        if "pairs_per_s" in one:
            rate, mfu = f"{one['pairs_per_s']:,.0f} pairs/s", f"{one['mfu_percent']:.1f}%"
            what = f"{path.stem}: {name}"
            found.append((what, f"{one['batch']:,.0f}", rate, f"{one['peak_mib']:,.0f}", mfu))
        elif "files/s" in one:
            for key in ("images/s", "prompts/s", "files/s", "frames/s", "p50 ms"):
                what = f"{path.stem}: {name}, {key}"
                found.append((what, "", f"{one[key]:,.1f}", f"{one['peak MiB']:,.0f}", ""))
        else:  # a loss
            time = f"{1000 * one['seconds']:,.1f} ms"
            found.append((f"loss: {name}", "", time, f"{one['above_inputs_mib']:,.0f}", ""))
    return found


def main() -> None:
    table = Table(box=None)
    for column in ("", "batch", "rate or time", "peak MiB", "mfu"):
        table.add_column(column, justify="right" if column else "left")
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        for row in rows(path):
            table.add_row(*row)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
