"""Start-up time and memory on a data set of ten million rows.

    python bench/index_scale.py --json index_scale.json

Makes sparse tars with real indexes beside them (about 0.5 GB; `--keep` keeps them), then in a fresh
process opens them with the check for keys that are there twice, takes the fingerprint, and looks
up where the samples of the first positions of a run lie. No image is decoded: there is none.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from contest import peak_mib, race, save, spread

from twinlens.data.datasets import open_dataset
from twinlens.data.left_out import LeftOut
from twinlens.data.sampler import training_sampler
from twinlens.data.samples import fingerprint
from twinlens.data.webdataset.shard_index import make_index
from twinlens.data.webdataset.shards import ShardSample
from twinlens.data.webdataset.tars import TarSamples

IMAGE, CAPTION = 12_000, 60
"""Bytes of the members that are not there."""


def make(folder: Path, shards: int, rows: int) -> None:
    """Shards with `rows` samples each: what a tar of jpg and txt would have as its index."""
    for number in range(shards):
        path = folder / f"{number:05d}.tar"
        offset, samples = 0, list[ShardSample]()
        for row in range(rows):
            members = {"jpg": (offset + 512, IMAGE), "txt": (offset + 13_312, CAPTION)}
            samples.append(ShardSample(path, f"{number:05d}{row:05d}", members))
            offset += 13_824
        with path.open("wb") as file:
            file.truncate(offset + 1024)
        status = path.stat()
        stamp = str(status.st_mtime_ns)
        index = make_index(samples, size=status.st_size, stamp=stamp, left_out=LeftOut())
        index.save(path.with_name(f"{path.name}.index"))


def resident_mib() -> tuple[float, float]:
    """Memory of the process itself and with the mapped files that it has read, MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    own, mapped = (
        int(status.split(f"{name}:")[1].split()[0]) / 1024 for name in ("RssAnon", "VmRSS")
    )
    return own, mapped


def measure(folder: Path, positions: int) -> dict[str, float]:
    before, _ = resident_mib()
    start = time.perf_counter()
    dataset = open_dataset(folder)
    opened = time.perf_counter()
    fingerprint(dataset.samples)
    ready = time.perf_counter()
    figures = {
        "rows": float(len(dataset.samples)),
        "open, s": opened - start,
        "fingerprint, s": ready - opened,
        "start-up, s": ready - start,
        "imports, MiB": before,
        "opening peak, MiB": peak_mib(),
    }
    order = training_sampler(dataset, seed=0)
    assert isinstance(dataset.samples, TarSamples)
    tenth = max(positions // 10, 1)
    for position in range(positions):
        dataset.samples.locate(order.sample_index(position))
        if (position + 1) % tenth == 0:
            own, mapped = resident_mib()
            done = (position + 1) // tenth * 10
            if done in (10, 50, 100):
                figures |= {f"own at {done}%, MiB": own, f"resident at {done}%, MiB": mapped}
    figures["us a position"] = (time.perf_counter() - ready) / positions * 1e6
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=10_000, help="samples of each shard")
    parser.add_argument("--positions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of the data set, used again if it exists")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.positions)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if not any(folder.glob("*.tar")):
            folder.mkdir(parents=True, exist_ok=True)
            make(folder, options.shards, options.rows)
        words = ["--measure", os.fspath(folder), "--positions", str(options.positions)]
        figures = race(__file__, {"twinlens": words}, options.rounds)
    rows = figures["twinlens"]
    for key in rows[0]:
        print(f"{key:24} {spread([row[key] for row in rows], digits=2)}")
    if options.json:
        save(figures, options.json, "numpy")


if __name__ == "__main__":
    main()
