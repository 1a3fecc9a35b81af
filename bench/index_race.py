"""Index a folder of JPEG files and search it: ours and rclip's, from the same weights, in turn.

usage: python bench/index_race.py PHOTOS MODEL --rclip PROGRAM --rclip-data DIR [--rounds 3]

MODEL is a ViT-B/32 of 256 pixels; DIR holds the same weights as rclip wants them (`twinlens export`
with the input and the output renamed to `input` and `output`). Each round makes both indexes anew,
each in a fresh process, then asks each twice from a cold start, without indexing again.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

QUERY = "red bicycle"


def run(words: list[str], where: Path, **environment: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of a command."""
    started = time.perf_counter()
    ended = subprocess.run(
        ["/usr/bin/time", "-v", *words],
        cwd=where,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if ended.returncode:
        sys.exit(ended.stderr)
    peak = re.search(r"Maximum resident set size \(kbytes\): (\d+)", ended.stderr)
    return seconds, int(peak[1]) / 1024 if peak else 0.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rclip", required=True)
    parser.add_argument("--rclip-data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    photos, model = given.photos.resolve(), given.model.resolve()
    count = len(list(photos.iterdir()))
    ours = [shutil.which("twinlens", path=str(Path(sys.executable).parent)) or "twinlens"]
    rounds: list[dict[str, float]] = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            index, data = Path(folder) / "x.idx", Path(folder) / "rclip"
            shutil.copytree(given.rclip_data, data, ignore=shutil.ignore_patterns("*.sqlite3*"))
            one: dict[str, float] = {}
            seconds, one["rclip_index_mb"] = run(
                [given.rclip, QUERY], photos, RCLIP_DATADIR=str(data)
            )
            one["rclip_images_per_s"] = count / seconds
            seconds, one["index_mb"] = run(
                [*ours, "index", str(photos), "--out", str(index), "--model", str(model)], photos
            )
            one["images_per_s"] = count / seconds
            for name, words, environment in (
                ("rclip", [given.rclip, "--no-indexing", QUERY], {"RCLIP_DATADIR": str(data)}),
                ("ours", [*ours, "search", QUERY, "--index", str(index)], {}),
            ):
                runs = [run(words, photos, **environment) for _ in range(3)]
                one[f"{name}_query_s"] = statistics.median(seconds for seconds, _ in runs)
                one[f"{name}_query_mb"] = statistics.median(peak for _, peak in runs)
            one["index_ratio"] = one["images_per_s"] / one["rclip_images_per_s"]
            one["query_ratio"] = one["ours_query_s"] / one["rclip_query_s"]
            rounds.append(one)
            print(json.dumps(one), file=sys.stderr)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(json.dumps({"images": count, "rounds": rounds, "median": medians}, indent=2))


if __name__ == "__main__":
    main()
