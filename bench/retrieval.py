"""Time and memory of retrieval both ways, beside the product of matrices that it consists of.

Run: python bench/retrieval.py [--images 100000] [--captions 1] [--width 512] [--threads 2]

Embeddings are random unit vectors; `--captions` of them belong to each image. A contestant runs
in a fresh process, and its peak memory is that of the process with PyTorch and all embeddings in
it. "products alone" makes the same tiles of scores and drops them: what is above it is counting.
"""

import argparse
import json
import time
from pathlib import Path

from contest import peak_mib, print_figures, race, resident_mib, save

HERE = Path(__file__).resolve()


def contest(options: argparse.Namespace) -> dict[str, float]:
    """The figures of one contestant; runs in a process of its own."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from twinlens.eval.metrics.retrieval_ranks import (  # noqa: PLC0415
        TILE_SIZE,
        measure_retrieval,
    )

    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)

    def unit_vectors(count: int) -> np.ndarray:
        rows = rng.standard_normal((count, options.width), dtype=np.float32)
        for part in np.array_split(rows, 100):  # the squares of all at once would be the peak
            part /= np.linalg.norm(part, axis=1, keepdims=True)  # noqa: PLW2901
        return rows

    images = unit_vectors(options.images)
    texts = unit_vectors(options.images * options.captions)
    owner = rng.permutation(len(texts)) % options.images
    before, start, used = resident_mib(), time.perf_counter(), time.process_time()
    if options.contestant == "products alone":
        for rows in torch.from_numpy(images).split(TILE_SIZE):
            for columns in torch.from_numpy(texts).split(TILE_SIZE):
                _ = rows @ columns.T
    else:
        result = measure_retrieval(images, texts, owner)
        near = abs(np.median(result.text_ranks) / options.images - 0.5)
        assert near < 0.05, "the median rank of random embeddings should be in the middle"
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "processor_seconds": time.process_time() - used,
        "gflop_s": 2e-9 * len(images) * len(texts) * options.width / seconds,
        "peak_mib": peak_mib(),
        "above_embeddings_mib": peak_mib() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--captions", type=int, default=1, help="of each image")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench/results/retrieval.json"))
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(contest(options)))
        return
    settings = {key: getattr(options, key) for key in ("images", "captions", "width", "threads")}
    words = [f"--{key}={value}" for key, value in settings.items()]
    names = ("retrieval, both ways", "products alone")
    figures = race(
        str(HERE), {name: [f"--contestant={name}", *words] for name in names}, options.rounds
    )
    print_figures(figures)
    save(figures, options.out, "numpy", settings=settings | {"seed": 0})


if __name__ == "__main__":
    main()
