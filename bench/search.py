"""Search of 512 numbers a vector: numpy's plain product and ours, with and without filters.

Run: python bench/search.py [--rows 100000 1000000] [--rounds 6] [--out bench/results/search.json]

The data are made in a temporary folder, of three decays of variance (eigenvalue i is i^-0.5,
i^-0.75 or i^-1) around a common mean with a third of the rows in clusters of near copies, and
isotropic clusters, which are the worst for codes. Image queries are new images and noisy copies;
text queries lie around another mean, each at a cosine of 0.3 to 0.4 to what tells an image from
the rest. The largest number of rows is measured for i^-0.75 alone. Every round takes ten new
queries through one contestant after the other; the right rows are those of the plain product.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from twinlens.search.codes import open_codes, update_codes
from twinlens.search.nearest import Nearest

WIDTH, K, CHUNK, TURN = 512, 10, 50_000, 10
NO_HOLES = np.zeros(0, np.int64)
DECAYS = {"i^-0.75": 0.75, "i^-0.5": 0.5, "i^-1": 1.0, "isotropic clusters": 0.0}
SHARES = {"50%": 0.5, "1%": 0.01, "0.01%": 0.0001, "3 rows": 0.0}

Array = np.ndarray[Any, Any]


def unit(values: Array) -> Array:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def make(kind: str, rows: int, queries: int, path: Path) -> dict[str, Array]:
    """Write vectors, and give the queries of each kind."""
    rng = np.random.default_rng(0)
    variances = np.arange(1, WIDTH + 1) ** -DECAYS[kind]
    directions = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    shape = (np.sqrt(variances / variances.sum())[:, None] * directions).astype(np.float32)
    isotropic = kind == "isotropic clusters"
    mean, other = unit(rng.standard_normal((2, WIDTH)))
    image_mean, spread = (0 * mean, 1.0) if isotropic else (0.6 * mean, 0.8)
    text_mean = unit(0.35 * mean + 0.94 * other)

    def noise(count: int) -> Array:
        return rng.standard_normal((count, WIDTH), dtype=np.float32) @ shape

    centres = noise(rows // 100)
    with path.open("wb") as file:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            near = rng.random(count) < (1 if isotropic else 0.3)
            weight = np.where(near, 0.5 if isotropic else 0.7, 0).astype(np.float32)[:, None]
            own = np.sqrt(1 - weight * weight) * noise(count)
            own += weight * centres[rng.integers(0, len(centres), count)]
            file.write(unit(image_mean + spread * own).data)
    base = vectors_at(path, rows)[np.sort(rng.choice(rows, queries, replace=False))]
    images = image_mean + spread * noise(queries)
    images[::2] = base[::2] + 0.5 * noise(len(images[::2]))
    cosine = rng.uniform(0.3, 0.4, (queries, 1))
    content = cosine * unit(base - image_mean)
    content = content + np.sqrt(1 - cosine**2) * unit(rng.standard_normal((queries, WIDTH)))
    return {"images": unit(images), "texts": unit(0.5 * text_mean + 0.87 * content)}


def vectors_at(path: Path, rows: int) -> Array:
    return np.memmap(path, np.float32, "r", shape=(rows, WIDTH))


def plain(vectors: Array, query: Array, allowed: Array | None) -> Array:
    if allowed is None:
        scores = vectors @ query
    elif len(allowed) * 4 < len(vectors):
        scores = vectors[allowed] @ query
    else:
        scores = (vectors @ query)[allowed]
    best = np.argpartition(scores, -min(K, len(scores)))[-K:]
    return best if allowed is None else allowed[best]


def turn(call: Callable[[Array], Array], queries: Array) -> tuple[list[float], list[Array]]:
    """Milliseconds and rows of some queries, one after the other as a server has them."""
    time.sleep(0.06)  # OpenBLAS's threads spin so long after a product, and the next pays for it
    times: list[float] = []
    found: list[Array] = []
    for query in queries:
        start = time.perf_counter()
        found.append(call(query))
        times.append(1000 * (time.perf_counter() - start))
    return times, found


def race(
    vectors: Array, nearest: Nearest, queries: Array, allowed: Array | None
) -> dict[str, float]:
    """Milliseconds of both contestants, their ratio by round, and ours' recall."""
    times: dict[str, list[float]] = {"numpy": [], "ours": []}
    ratios: list[float] = []
    recalls: list[float] = []
    for start in range(0, len(queries), TURN):
        some = queries[start : start + TURN]
        theirs, right = turn(lambda query: plain(vectors, query, allowed), some)
        ours, found = turn(
            lambda query: nearest.search(query[None], K, allowed=allowed)[0][0], some
        )
        times["numpy"] += theirs
        times["ours"] += ours
        ratios.append(statistics.median(ours) / statistics.median(theirs))
        recalls += [
            len(np.intersect1d(one, other)) / len(one)
            for one, other in zip(right, found, strict=True)
        ]
    return {
        "numpy_ms": statistics.median(times["numpy"]),
        "numpy_ms_lowest": min(times["numpy"]),
        "ms": statistics.median(times["ours"]),
        "ms_lowest": min(times["ours"]),
        "ms_highest": max(times["ours"]),
        "by_numpy": statistics.median(ratios),
        "by_numpy_lowest": min(ratios),
        "by_numpy_highest": max(ratios),
        "recall_at_10": statistics.mean(recalls),
    }


def measure(kind: str, rows: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "vectors.f32"
        queries = make(kind, rows, TURN * rounds, path)
        vectors = vectors_at(path, rows)
        start = time.perf_counter()
        update_codes(folder, "0", vectors, NO_HOLES)
        built = time.perf_counter() - start
        reader = fresh_reader(folder, rows, queries)
        nearest = Nearest(vectors, NO_HOLES, open_codes(folder, "0"))
        results = {name: race(vectors, nearest, some, None) for name, some in queries.items()}
        if kind == "i^-0.75":
            rng = np.random.default_rng(1)
            for part, share in SHARES.items():
                allowed = np.flatnonzero(rng.random(rows) < share)
                allowed = allowed if share else np.sort(rng.choice(rows, 3, replace=False))
                few = np.concatenate([some[: TURN * rounds // 2] for some in queries.values()])
                results[f"both, {part} allowed"] = race(vectors, nearest, few, allowed)
    return {"build_seconds": built, "reader": reader, "results": results}


def fresh_reader(folder: Path, rows: int, queries: dict[str, Array]) -> dict[str, float]:
    """What a process that does nothing else measures of itself."""
    np.save(folder / "queries.npy", np.concatenate([some[:15] for some in queries.values()]))
    command = [sys.executable, __file__, "--reader", str(folder), "--rows", str(rows)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def read(folder: Path, rows: int) -> None:
    queries = np.load(folder / "queries.npy")
    start = time.perf_counter()
    nearest = Nearest(vectors_at(folder / "vectors.f32", rows), NO_HOLES, open_codes(folder, "0"))
    opened = 1000 * (time.perf_counter() - start)
    first = turn(lambda query: nearest.search(query[None], K)[0], queries[:1])[0][0]
    for query in queries:
        nearest.search(query[None], K)
    by_codes = peak_megabytes()
    nearest.search(queries, K)
    nearest.search(queries[:1], K, allowed=np.arange(0, rows, 2))
    nearest.search(queries[:1], K, allowed=np.arange(0, rows, 101))
    report = {"open_ms": opened, "first_ms": first, "peak_mb": by_codes}
    print(json.dumps(report | {"peak_mb_with_exact_scans": peak_megabytes()}))


def peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def show(report: dict[str, dict[str, Any]]) -> None:
    table = Table(
        "data",
        "queries",
        "numpy, ms (lowest)",
        "ours, ms",
        "lowest to highest",
        "by numpy",
        "recall@10",
    )
    for data, measured in report.items():
        for name, row in measured["results"].items():
            lowest, ratio = row["numpy_ms_lowest"], row["by_numpy"]
            ratios = f"{row['by_numpy_lowest']:.2f} to {row['by_numpy_highest']:.2f}"
            table.add_row(
                data,
                name,
                f"{row['numpy_ms']:.1f} ({lowest:.1f})",
                f"{row['ms']:.1f}",
                f"{row['ms_lowest']:.1f} to {row['ms_highest']:.1f}",
                f"{ratio:.2f} ({ratios})",
                f"{row['recall_at_10']:.4f}",
            )
    Console(width=140).print(table)
    for data, measured in report.items():
        reader = ", ".join(f"{name} {value:.1f}" for name, value in measured["reader"].items())
        print(f"{data}: codes built in {measured['build_seconds']:.1f} s; a fresh reader: {reader}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/search.json")
    parser.add_argument("--reader", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        read(options.reader, options.rows[0])
        return
    cases = [(kind, min(options.rows)) for kind in DECAYS]
    cases += [("i^-0.75", rows) for rows in sorted(options.rows)[1:]]
    measured = {f"{kind}, {rows:,}": measure(kind, rows, options.rounds) for kind, rows in cases}
    show(measured)
    report = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "rounds": options.rounds,
        "k": K,
        "measured": measured,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
